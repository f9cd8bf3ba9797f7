#!/usr/bin/env bash
#SBATCH --job-name=nas
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=%x-%j.log
#
# Any stage on the nodes of a SLURM job:
#   sbatch conf/cluster/slurm.sh nas search run.dir=/shared/runs/lm_tiny search.ray.address=auto search.workers=16
#   sbatch conf/cluster/slurm.sh nas tune run.dir=/shared/runs/lm_tiny tune.ray.address=auto 'tune.over={search.seed:[0,1]}'
#
# It needs
# - the package, and the same Ray, on every node: NAS_VENV is a virtual environment on a disk that all of them see;
# - run.dir, and data.path if it is set, as absolute paths on such a disk, one with working locks;
# - Ray 2.49 or newer, for `ray symmetric-run`: it starts Ray on all nodes, runs the command on the first, stops Ray.
# A job that was preempted or ran out of time goes on with what its archive holds, by --requeue or the same sbatch again.
set -euo pipefail

if [[ $# -eq 0 ]]; then
    echo "usage: sbatch slurm.sh nas <stage> [override …]" >&2
    exit 2
fi
if [[ -n "${NAS_VENV:-}" ]]; then
    # shellcheck disable=SC1091
    source "$NAS_VENV/bin/activate"
fi
export RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1

# Others on these nodes could send work to a Ray without a token: one for this job, in a file that only its owner reads.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$HOME/.ray/nas-$SLURM_JOB_ID.token"
(umask 077 && mkdir -p "$HOME/.ray" && python -c 'import secrets; print(secrets.token_hex(32))' >"$RAY_AUTH_TOKEN_PATH")
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

head="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
port="$((20000 + SLURM_JOB_ID % 20000))"
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
    ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "${SLURM_CPUS_PER_TASK:-1}" -- "$@"
