// A chat on OpenAI's route, streamed.

import { Panel, shown } from "./panel.js";
import { chatSnippets } from "./snippets.js";

export function setUpChat(openai) {
  const panel = new Panel("chat", (inputs) => Boolean(openai) && inputs.has("messages"));
  const list = panel.root.querySelector(".messages");
  const prompt = panel.field("prompt");
  let messages = [];

  const body = (asked) => ({
    model: panel.model,
    messages: asked,
    max_tokens: Number(panel.field("tokens").value) || 256,
  });

  function item(role, text) {
    const found = document.createElement("li");
    found.className = role;
    found.textContent = text;
    list.append(found);
    list.scrollTop = list.scrollHeight;
    return found;
  }

  panel.form.addEventListener("input", () => {
    const next = { role: "user", content: prompt.value || "What is the capital of France?" };
    panel.code(() => chatSnippets(panel.client, openai, body([...messages, next])));
  });
  panel.field("clear").addEventListener("click", () => {
    messages = [];
    list.replaceChildren();
    panel.clearFigures();
    panel.say("");
    prompt.focus();
  });
  // Enter sends, as in other chats; with Shift it is a new line.
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    panel.form.requestSubmit();
  });

  panel.form.addEventListener("submit", () =>
    panel.run(async (signal) => {
      const question = { role: "user", content: prompt.value };
      const asked = body([...messages, question]);
      item("user", question.content);
      panel.clearFigures();
      panel.side.raw("sent", JSON.stringify(asked));
      prompt.value = "";
      const place = item("assistant", "");
      place.dataset.empty = "...";
      const begin = performance.now();
      let first = 0;
      let count = 0;
      let text = "";
      const onraw = (data) => panel.side.raw("received", data);
      try {
        for await (const chunk of panel.client.chat(asked, { signal, onraw })) {
          const piece = chunk.choices?.[0]?.delta?.content;
          if (!piece) continue;
          const now = performance.now();
          first ||= now;
          count++;
          text += piece;
          place.append(piece);
          list.scrollTop = list.scrollHeight;
          panel.figure("first", shown(first - begin));
          panel.figure("count", count);
          if (count > 1) panel.figure("rate", (((count - 1) * 1000) / (now - first)).toFixed(1));
        }
      } finally {
        // What was said counts, also where it was stopped.
        if (text) messages = [...messages, question, { role: "assistant", content: text }];
        else place.remove();
      }
      return `Answer: ${text}`;
    }),
  );
  return panel;
}
