// An OpenID provider that nobody here wrote (npm `oidc-provider`), which gives its clients access tokens in JWT form
// (RFC 9068) for the resource that they name (RFC 8707).
//
//     identity_provider.mjs MODULES PORT KEYS ALG
//
// MODULES is the folder that has the package. Listens on PORT (0: on any), and prints it on a line of its own. Signs with
// the keys of the file KEYS, which it makes if there is none.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, port, file, alg] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(createRequire(`${modules}/`).resolve('oidc-provider')));

function key(type, options, alg) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), use: 'sig', alg };
}

if (!existsSync(file)) {
  const keys = [
    key('rsa', { modulusLength: 2048 }, 'RS256'),
    key('rsa', { modulusLength: 2048 }, 'PS256'),
    key('ec', { namedCurve: 'P-256' }, 'ES256'),
    key('ed25519', {}, 'EdDSA'),
  ];
  writeFileSync(file, JSON.stringify({ keys }), { mode: 0o600 });
}

const client = (client_id) => ({
  client_id, client_secret: 's3cret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
});
const server = createServer();
server.listen(Number(port), '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: ['agent-1', 'agent-2', 'brief'].map(client),
    jwks: JSON.parse(readFileSync(file)),
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
    scopes: ['openid', 'tools:call'],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'https://gate.test/',
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource, client) => ({
          scope: 'tools:call',
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: client.clientId === 'brief' ? 4 : 300,
          jwt: { sign: { alg } },
        }),
      },
    },
  });
  server.on('request', provider.callback());
  console.log(server.address().port);
});
