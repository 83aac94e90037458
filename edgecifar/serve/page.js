
"use strict";
const at = (id) => document.getElementById(id);
const { top: shown, maxBytes } = document.querySelector("main").dataset;
let running = null;

async function classify(file) {
  if (running) running.abort();
  const mine = running = new AbortController();
  at("problem").textContent = "";
  at("result").hidden = true;
  show(file);
  if (file.size > Number(maxBytes)) {
    fail(`The file is larger than ${Number(maxBytes) / 1e6} MB, the limit of this server.`);
    return;
  }
  at("status").textContent = "Classifying …";
  const began = performance.now();
  try {
    const answer = await fetch(`predict?top=${shown}`, {
      method: "POST",
      headers: { "Content-Type": file.type || "application/octet-stream" },
      body: file,
      signal: mine.signal,
    });
    const body = await answer.json();
    if (answer.ok) report(body, performance.now() - began);
    else fail(sentence(body.detail));
  } catch (error) {
    if (mine.signal.aborted) return;
    fail("The server does not answer. Is it still running?");
  }
}

function show(file) {
  const image = at("preview");
  URL.revokeObjectURL(image.src);
  image.onload = () => { image.hidden = false; };
  image.onerror = () => { image.hidden = true; };
  image.alt = `Your picture: ${file.name || "pasted"}`;
  image.src = URL.createObjectURL(file);
}

function report({ top, wait_ms, read_ms, predict_ms }, total) {
  at("status").textContent = `${top[0].label}, ${percent(top[0].probability)}`;
  at("classes").replaceChildren(...top.map(({ label, probability }) => {
    const line = element("div", "line");
    line.append(element("span", "", label), element("span", "share", percent(probability)));
    const track = element("div", "track");
    const bar = element("div", "bar");
    bar.style.width = `${100 * probability}%`;
    track.append(bar);
    const item = element("li");
    item.append(line, track);
    return item;
  }));
  at("latency").textContent =
    `${milliseconds(predict_ms)} in the model, ${milliseconds(read_ms)} to read the picture, ` +
    (wait_ms >= 1 ? `${milliseconds(wait_ms)} in the queue, ` : "") +
    `${milliseconds(total)} in all, with the network.`;
  at("result").hidden = false;
}

function fail(message) {
  at("status").textContent = "";
  at("problem").textContent = message;
}

function element(name, kind = "", text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.textContent = text;
  return made;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}.`;

for (const id of ["file", "camera"]) {
  at(id).addEventListener("change", ({ target }) => {
    if (target.files.length) classify(target.files[0]);
    target.value = "";
  });
}
if (matchMedia("(pointer: coarse)").matches) {
  at("camera").hidden = at("camera-label").hidden = false;
  at("hint").textContent = "Take a photo, or choose a picture.";
}
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("drop").classList.remove("over");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").classList.remove("over");
  if (event.dataTransfer.files.length) classify(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) classify(event.clipboardData.files[0]);
});
