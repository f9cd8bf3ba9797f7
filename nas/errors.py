"""The errors users see: each states the rule, the value seen and the remedy."""


class NasError(Exception):
    """Base of every error that is about the user's input or machine rather than a defect of ours."""


class ConfigError(NasError, ValueError):
    """A setting that is unknown, missing or out of range."""


class ArchError(NasError, ValueError):
    """An architecture or search space that breaks a rule of an operator or of the space."""


class DataError(NasError):
    """Data that is missing or not in the form its reader expects."""


class CheckpointError(NasError):
    """A checkpoint or artefact that is missing, damaged or belongs to another search space."""


class InfeasibleError(NasError, ValueError):
    """Constraints that no architecture of the space meets."""


class MeasurementError(NasError):
    """A measurement that would not mean what it says."""


class MissingDependencyError(NasError, ImportError):
    """An optional package that the asked-for feature needs."""
