// A tab's request in three languages, as one would write it. A key is never shown.

/** In a shell, whatever is in it. */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const pretty = (value) => JSON.stringify(value, null, 2);
const indented = (text, by) => text.replaceAll("\n", `\n${" ".repeat(by)}`);
// What differs between JSON and Python.
const python = (value) =>
  pretty(value).replace(/"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g, (found) =>
    ({ true: "True", false: "False", null: "None" })[found] ?? found);

const modelUrl = (client, model, call) => new URL(`v2/models/${encodeURIComponent(model)}/${call}`, client.base).href;
const curlKey = (client) => (client.key ? ` \\\n  -H "Authorization: Bearer $API_KEY"` : "");
const pythonKey = (client) => (client.key ? `\nheaders = {"authorization": f"Bearer {os.environ['API_KEY']}"}` : "\nheaders = {}");
const pythonImports = (client, ...names) => [...names, ...(client.key ? ["os"] : [])].sort().map((name) => `import ${name}`).join("\n");
const jsClient = (client) => `import { StreamingClient } from "./streaming.js"; // ${new URL("playground/streaming.js", client.base)}

const client = new StreamingClient("${client.base}"${client.key ? ", { key }" : ""});`;

export function textSnippets(client, model, request) {
  const url = modelUrl(client, model, "generate_stream");
  return {
    curl: `curl -N ${quoted(url)}${curlKey(client)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(request))}`,
    Python: `${pythonImports(client, "json", "httpx")}
from httpx_sse import connect_sse

url = "${url}"${pythonKey(client)}
body = ${python(request)}
with httpx.Client(timeout=None) as client:
    with connect_sse(client, "POST", url, json=body, headers=headers) as events:
        for event in events.iter_sse():
            print(json.loads(event.data)["text_output"], end="", flush=True)`,
    JavaScript: `${jsClient(client)}
const request = ${pretty(request)};
for await (const answer of client.stream(${JSON.stringify(model)}, request)) {
  console.log(answer.text_output);
}`,
  };
}

export function chatSnippets(client, prefix, body) {
  const base = new URL(prefix, client.base).href;
  const streamed = { ...body, stream: true };
  return {
    curl: `curl -N ${quoted(`${base}/chat/completions`)}${curlKey(client)} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(streamed))}`,
    Python: `${client.key ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url="${base}", api_key=${client.key ? `os.environ["API_KEY"]` : `"none"`})
stream = client.chat.completions.create(
    model=${JSON.stringify(body.model)},
    messages=${indented(python(body.messages), 4)},
    max_tokens=${body.max_tokens},
    stream=True,
)
for chunk in stream:
    print(chunk.choices[0].delta.content or "", end="", flush=True)`,
    JavaScript: `${jsClient(client)}
const body = ${pretty(body)};
for await (const chunk of client.chat(body)) {
  console.log(chunk.choices[0]?.delta.content ?? "");
}`,
  };
}

const socketUrl = (client, model) => modelUrl(client, model, "stream").replace(/^http/, "ws");
const pythonSocketKey = (client) => (client.key ? `, additional_headers={"authorization": f"Bearer {os.environ['API_KEY']}"}` : "");

/** @param {Record<string, any>} parameters of each frame. */
export function videoSnippets(client, model, parameters) {
  const url = modelUrl(client, model, "infer_stream");
  const fields = Object.entries(parameters).map(([name, value]) => `-F ${name}=${value}`);
  return {
    curl: `curl -N ${quoted(url)}${curlKey(client)} \\\n  ${fields.join(" ")} \\\n  -F image=@a.jpg -F image=@b.jpg`,
    Python: `${pythonImports(client, "base64", "json", "sys")}
from websockets.sync.client import connect

url = "${socketUrl(client, model)}"
with connect(url, subprotocols=["v2.stream"], max_size=None${pythonSocketKey(client)}) as socket:
    for name in sys.argv[1:]:  # JPEG files
        frame = base64.b64encode(open(name, "rb").read()).decode()
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [frame]}
        socket.send(json.dumps({"inputs": [tensor], "parameters": ${python(parameters).replace(/\n */g, " ")}}))
        print(socket.recv())
    socket.send('{"end": true}')`,
    JavaScript: `${jsClient(client)}
const socket = await client.socket(${JSON.stringify(model)}, { ahead: 2 });
async function send(jpeg) { // a Uint8Array
  await socket.send({
    inputs: [{ name: "image", datatype: "BYTES", shape: [1], data: [jpeg] }],
    parameters: ${JSON.stringify(parameters)},
  });
}
for await (const { id, outputs, parameters } of socket) {
  console.log(id, outputs.find(({ name }) => name === "boxes").data, parameters.labels);
}`,
  };
}

export function speechSnippets(client, model, rate) {
  const url = modelUrl(client, model, "infer_stream");
  return {
    curl: `curl -N ${quoted(url)}${curlKey(client)} \\\n  -F audio=@recording.wav`,
    Python: `${pythonImports(client, "base64", "json")}
from websockets.sync.client import connect

url = "${socketUrl(client, model)}"
with connect(url, subprotocols=["v2.stream"], max_size=None${pythonSocketKey(client)}) as socket:
    audio = base64.b64encode(open("recording.wav", "rb").read()).decode()
    tensor = {"name": "audio", "datatype": "BYTES", "shape": [1], "data": [audio]}
    socket.send(json.dumps({"inputs": [tensor]}))
    socket.send('{"end": true}')
    for message in socket:
        answer = json.loads(message)
        print(answer["outputs"][0]["data"][0], answer["parameters"].get("final"))`,
    JavaScript: `${jsClient(client)}
const socket = await client.socket(${JSON.stringify(model)});
async function send(samples) { // an Int16Array, ${rate} samples a second
  await socket.send(
    {
      inputs: [{ name: "audio", datatype: "INT16", shape: [samples.length], data: samples }],
      parameters: { sample_rate: ${rate} },
    },
    { counted: false },
  );
}
// send(...) as the microphone gives them, then socket.end();
for await (const { outputs, parameters } of socket) {
  console.log(parameters.final ? "final" : "so far", outputs[0].data[0]);
}`,
  };
}
