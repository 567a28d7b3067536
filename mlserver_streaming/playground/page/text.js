// A text goes in, words come as they are made: server-sent events.

import { Panel, quantile, shown } from "./panel.js";
import { Plot } from "./plot.js";
import { textSnippets } from "./snippets.js";
import { failureOf } from "./streaming.js";

const OTHER_KINDS = ["audio", "image", "images", "messages"];

export function setUpText() {
  const panel = new Panel("text", (inputs, outputs, { inputs: tensors }) => {
    const texts = (tensors ?? []).some(({ datatype }) => datatype === "BYTES");
    return texts && !OTHER_KINDS.some((name) => inputs.has(name));
  });
  const output = panel.root.querySelector(".output");
  const plot = new Plot(panel.root.querySelector(".plot"));

  /** @returns the request; a sentence is thrown where the parameters are none. */
  function request() {
    let parameters;
    try {
      parameters = JSON.parse(panel.field("parameters").value || "{}");
    } catch {
      parameters = null;
    }
    if (typeof parameters !== "object" || parameters === null || Array.isArray(parameters)) {
      throw new Error('Parameters must be a JSON object, such as {"delay": 0.1}.');
    }
    return { text_input: panel.field("prompt").value, parameters };
  }

  panel.form.addEventListener("input", () => {
    try {
      panel.code(() => textSnippets(panel.client, panel.model, request()));
    } catch {
      // It is said when it is sent.
    }
  });

  panel.form.addEventListener("submit", () =>
    panel.run(async (signal) => {
      const asked = request();
      output.textContent = "";
      panel.clearFigures();
      plot.clear();
      panel.side.raw("sent", JSON.stringify(asked));
      const begin = performance.now();
      const gaps = [];
      let before = begin;
      let count = 0;
      const onraw = (data) => panel.side.raw("received", data);
      for await (const answer of panel.client.stream(panel.model, asked, { signal, onraw })) {
        const failure = failureOf(answer);
        if (failure) throw failure;
        const now = performance.now();
        if (count++) gaps.push(now - before);
        else panel.figure("first", shown(now - begin));
        plot.add(now - before);
        before = now;
        output.append(textOf(answer));
        panel.figure("count", count);
        panel.figure("total", shown(now - begin));
        if (gaps.length) {
          panel.figure("median", shown(quantile(gaps, 0.5)));
          panel.figure("p95", shown(quantile(gaps, 0.95)));
        }
      }
      panel.figure("total", shown(performance.now() - begin));
      return `${count} ${count === 1 ? "response" : "responses"} in ${shown(performance.now() - begin)}.`;
    }),
  );
  return panel;
}

/** The flat form's text; else whatever the model's output is called. */
function textOf(answer) {
  if (typeof answer.text_output === "string") return answer.text_output;
  const { model_name: _, model_version: __, id: ___, ...outputs } = answer;
  return `${JSON.stringify(outputs)}\n`;
}
