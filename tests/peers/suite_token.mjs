// The conformance suite shows no token, and the endpoint hears nobody without one. Loaded before the suite (`--import`): each
// request that this process makes, with whatever of Node's clients, carries the agent's token.
import diagnostics from 'node:diagnostics_channel';

const bearer = `Bearer ${process.env.PORTCULLIS_SUITE_TOKEN}`;
diagnostics.subscribe('undici:request:create', ({ request }) => request.addHeader('authorization', bearer));
diagnostics.subscribe('http.client.request.created', ({ request }) => request.setHeader('authorization', bearer));
