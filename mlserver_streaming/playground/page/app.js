// The page: which models are here, for which key, and a tab for each kind of them.

import { setUpChat } from "./chat.js";
import { setUpSpeech } from "./speech.js";
import { StreamingClient } from "./streaming.js";
import { setUpTabs } from "./tabs.js";
import { setUpText } from "./text.js";
import { setUpVideo } from "./video.js";

// Above the page: a proxy may serve all of it below a path of its own.
const BASE = new URL(".", document.baseURI);
const MOST_MODELS = 200;

const openai = document.documentElement.dataset.openai;
const panels = [setUpText(), setUpVideo(), setUpSpeech(), setUpChat(openai)];
const key = document.getElementById("key");
const service = document.getElementById("service");
const problem = document.getElementById("problem");

setUpTabs(document.getElementById("tabs"));
document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  look();
});
look();

/** Find the models that this key may use. */
async function look() {
  // Kept in this variable only: it is gone with the tab.
  const client = new StreamingClient(BASE, { key: key.value.trim() || null, openai });
  let models = [];
  try {
    const ready = (await client.models()).filter(({ state }) => state === "READY");
    const names = [...new Set(ready.map(({ name }) => name))].slice(0, MOST_MODELS);
    const found = await Promise.all(names.map((name) => client.metadata(name).catch(() => null)));
    models = found.filter((each) => each !== null);
    problem.hidden = true;
    service.textContent = `${models.length} ${models.length === 1 ? "model" : "models"} at ${location.host}`;
  } catch (error) {
    service.textContent = `No models yet, at ${location.host}`;
    problem.textContent =
      error.status === 401 && !client.key ? "This service needs a key: type one in above." : error.message;
    problem.hidden = false;
  }
  for (const panel of panels) panel.offer(client, models);
}
