// An authorization server that nobody here wrote (npm `oidc-provider`): clients register themselves, people say yes on its own pages,
// and a refresh token is good once. Access tokens are for the resource that was named (RFC 8707), and live for seconds.
//
//     oauth_provider.mjs MODULES SECONDS [FOLDER]
//
// MODULES is the folder that has the package. With FOLDER it speaks TLS, by `server.pem` and `server.key` there. Prints its port on a line of its own, once it listens. `POST /revoke-all` ends all logins.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [modules, seconds, folder] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(createRequire(`${modules}/`).resolve('oidc-provider')));

const grants = new Set();
const read = (name) => readFileSync(`${folder}/${name}`);
const server = folder ? createTlsServer({ key: read('server.key'), cert: read('server.pem') }) : createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `${folder ? 'https://localhost' : 'http://127.0.0.1'}:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [{ client_id: 'tools', client_secret: 's3cret', grant_types: [], redirect_uris: [], response_types: [] }],
    scopes: ['openid', 'offline_access', 'tools:call'],
    ttl: { AccessToken: Number(seconds), Grant: 3600, RefreshToken: 3600, Session: 3600, Interaction: 600, AuthorizationCode: 60, IdToken: 60 },
    features: {
      devInteractions: { enabled: true },
      registration: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: 'tools:call', audience: resource, accessTokenFormat: 'opaque', accessTokenTTL: Number(seconds),
        }),
      },
    },
  });
  provider.on('grant.success', (ctx) => grants.add(ctx.oidc.entities.Grant.jti));
  const callback = provider.callback();
  server.on('request', async (request, response) => {
    if (request.url !== '/revoke-all') return callback(request, response);
    for (const id of grants) {
      await provider.RefreshToken.revokeByGrantId(id);
      await provider.AccessToken.revokeByGrantId(id);
    }
    response.end('done');
  });
  console.log(server.address().port);
});
