"use strict";
// Keeps what is inside `main` as the server has it: told by a stream of events, or asking now and then without one.
(() => {
  const POLL = 5000;
  const main = document.querySelector("main");
  const live = document.getElementById("live");
  const { source } = main.dataset;
  let isAsking = false;
  let polling = 0;

  const chosen = () => [...main.querySelectorAll("input[name=run]:checked")].map((box) => box.value);

  const dress = () => {
    for (const moment of main.querySelectorAll("time")) moment.textContent = new Date(moment.dateTime).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
    const button = document.getElementById("compare");
    if (button) button.disabled = chosen().length < 2;
  };

  const replace = (html) => {
    const kept = new Set(chosen());
    const { activeElement } = document;
    const focus = activeElement && activeElement.value;
    const across = main.querySelector(".scroll") ? main.querySelector(".scroll").scrollLeft : 0;
    const holder = document.createElement("template");
    holder.innerHTML = html;
    main.replaceChildren(holder.content);
    for (const box of main.querySelectorAll("input[name=run]")) {
      box.checked = kept.has(box.value);
      if (focus && box.value === focus) box.focus();
    }
    if (main.querySelector(".scroll")) main.querySelector(".scroll").scrollLeft = across;
    dress();
  };

  const ask = async () => {
    if (isAsking) return;
    isAsking = true;
    try {
      const answer = await fetch(`${source}?part`, { cache: "no-store" });
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      replace(await answer.text());
      live.textContent = `live: as of ${new Date().toLocaleTimeString()}`;
    } catch (error) {
      live.textContent = `live: not up to date (${error.message}), trying again`;
    }
    isAsking = false;
  };

  const poll = (isOn) => {
    if (isOn && !polling) polling = setInterval(ask, POLL);
    if (!isOn && polling) { clearInterval(polling); polling = 0; }
  };

  main.addEventListener("change", dress);
  main.addEventListener("click", (event) => {
    if (event.target.id === "compare") location.assign(`/run/${chosen().join("+")}/`);
  });
  dress();
  if (!source) return;
  const events = new EventSource(`${source}/events`);
  events.onmessage = ask;
  events.onopen = () => { poll(false); ask(); };
  events.onerror = () => { live.textContent = "live: connection lost, trying again"; poll(true); };
})();
