// An MCP client that nobody here wrote (npm `@modelcontextprotocol/client`), driven by a list of steps.
//
//     client.mjs MODULES MODE STEPS PEER
//
// MODULES is the folder that has the package. MODE is `legacy`, `auto` or `2026-07-28`. STEPS is a JSON array: `"list"`,
// `"ping"`, `[TOOL, ARGUMENTS]`, an array of these, which are asked for at once, or `{"until": [TOOL, ...]}`: the list, once
// all of these are in it. PEER is `{"command": [...]}` or
// `{"url": ..., "token": ...}`. Prints one JSON line a step, as the client hands the result to its user.
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, mode, steps, peerText] = process.argv.slice(2);
const from = createRequire(`${modules}/`);
const load = (name) => import(pathToFileURL(from.resolve(name)));
const { Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client');
const { StdioClientTransport } = await load('@modelcontextprotocol/client/stdio');

function transport(peer) {
  if (peer.url) {
    const headers = { authorization: `Bearer ${peer.token}` };
    return new StreamableHTTPClientTransport(new URL(peer.url), { requestInit: { headers } });
  }
  const [command, ...args] = peer.command;
  return new StdioClientTransport({ command, args });
}

async function listed(client, names) {
  for (;;) {
    const list = await client.listTools();
    if (names.every((name) => list.tools.some((tool) => tool.name === name))) return list;
  }
}

async function take(client, step) {
  if (step === 'list') return client.listTools();
  if (step === 'ping') return client.ping();
  if (step.until) return listed(client, step.until);
  const [tool, given] = step;
  if (Array.isArray(tool)) return Promise.all(step.map((one) => take(client, one)));
  return client.callTool({ name: tool, arguments: given });
}

const era = mode.startsWith('2') ? { pin: mode } : mode;
const client = new Client({ name: 'steps', version: '0' }, { versionNegotiation: { mode: era } });
await client.connect(transport(JSON.parse(peerText)));
for (const step of JSON.parse(steps)) console.log(JSON.stringify(await take(client, step)));
await client.close();
