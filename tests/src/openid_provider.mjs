// OpenID provider of the tests: the certified oidc-provider on a free port of loopback. It issues identities as forges do,
// with real signatures, and is an OAuth 2.0 server with client credentials, token exchange, refresh and the device flow.
//
//   node openid_provider.mjs FOLDER-OF-node_modules STATE-FILE ACCEPTED-FOLDER
//
// The state file gets the issuer and the public keys. Each registry token gets a file in the accepted folder for its life.
import { createServer } from 'node:http';
import { randomUUID, generateKeyPairSync } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, stateFile, accepted] = process.argv.slice(2);
const { default: Provider, errors } = await import(pathToFileURL(join(modules, 'oidc-provider/lib/index.js')));
const jose = await import(pathToFileURL(join(modules, 'jose/dist/node/esm/index.js')))
  .catch(() => import(pathToFileURL(join(modules, 'jose/dist/webapi/index.js'))));

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';
const DEVICE_CODE = 'urn:ietf:params:oauth:grant-type:device_code';
const AUDIENCE = 'urn:audience:';
const GRACE = 400;

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;
const newKey = (kid) => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' };
};
const key = newKey('k1');
const { d, p, q, dp, dq, qi, ...publicKey } = key;
const settings = () => {
  try {
    return JSON.parse(readFileSync(`${stateFile}.settings`));
  } catch {
    return {};
  }
};
const lifetime = () => settings().lifetime ?? 3600;

const client = (client_id, client_secret, ...grant_types) => ({
  client_id,
  ...(client_secret ? { client_secret } : { token_endpoint_auth_method: 'none', application_type: 'native' }),
  grant_types,
  redirect_uris: [],
  response_types: [],
});
const configuration = {
  clients: [
    client('forge', 'password-of-the-forge', 'client_credentials'),
    client('ci', 'pass/word+of=the ci', 'client_credentials', TOKEN_EXCHANGE),
    client('person', undefined, DEVICE_CODE, 'refresh_token'),
  ],
  jwks: { keys: [key] },
  cookies: { keys: ['cookies of the tests'] },
  clientDefaults: { id_token_signed_response_alg: 'RS256' },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  features: {
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({
        scope: 'packages:read',
        audience: decodeURIComponent(resource.replace(AUDIENCE, '')),
        accessTokenTTL: resource.startsWith(AUDIENCE) ? settings().identityLifetime ?? 300 : lifetime(),
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  extraTokenClaims: (_, token) => (token.client?.clientId === 'forge' ? { repository: 'corp/project' } : undefined),
  issueRefreshToken: () => true,
  rotateRefreshToken: true,
  ttl: { AccessToken: () => lifetime(), ClientCredentials: (_, token) => token.resourceServer?.accessTokenTTL ?? lifetime(), RefreshToken: 86400, Grant: 86400, Session: 86400 },
};
const provider = new Provider(issuer, configuration);

const parameters = ['subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'scope'];
provider.registerGrantType(TOKEN_EXCHANGE, async (ctx, next) => {
  const { params } = ctx.oidc;
  if (params.subject_token_type !== 'urn:ietf:params:oauth:token-type:jwt') {
    throw new errors.InvalidRequest('subject_token_type is not supported');
  }
  const keys = jose.createLocalJWKSet({ keys: [publicKey] });
  await jose.jwtVerify(params.subject_token ?? '', keys, { issuer, audience: 'packages' }).catch((error) => {
    throw new errors.InvalidRequest(`the subject token was refused: ${error.message}`);
  });
  const token = new provider.ClientCredentials({ client: ctx.oidc.client, scope: params.scope });
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    token_type: 'Bearer',
    expires_in: token.expiration,
  };
  await next();
}, parameters);

// Registries accept each token that the server issues, until its end.
provider.use(async (ctx, next) => {
  await next();
  if (ctx.path === '/token' && ctx.body?.access_token && ctx.oidc.client.clientId !== 'forge') {
    accept(ctx.body.access_token, ctx.body.expires_in);
  }
});

function accept(token, seconds) {
  const file = join(accepted, token);
  writeFileSync(file, '');
  setTimeout(() => rmSync(file, { force: true }), Math.min(seconds * 1000 + GRACE, 2 ** 31 - 1)).unref();
}

// The forge's own endpoint, as GitHub Actions has it. It passes a request on to the provider, which signs the identity.
async function identity(request, response) {
  const url = new URL(request.url, issuer);
  const [authorization, accept] = [request.headers.authorization, request.headers.accept];
  const wanted = `Bearer ${settings().requestToken ?? 'token-of-the-job'}`;
  const isGitHubs = url.searchParams.get('api-version') === '2.0' && request.headers['user-agent'];
  if (authorization !== wanted || accept !== 'application/json; api-version=2.0' || !isGitHubs) {
    response.writeHead(401, { 'content-type': 'application/json' }).end('{"message":"the job token was refused"}');
    return;
  }
  const audience = url.searchParams.get('audience') ?? 'https://forge.example/corp';
  const body = new URLSearchParams({
    grant_type: 'client_credentials',
    resource: AUDIENCE + encodeURIComponent(audience),
  });
  const login = Buffer.from('forge:password-of-the-forge').toString('base64');
  const answer = await fetch(`${issuer}/token`, { method: 'POST', body, headers: { authorization: `Basic ${login}` } });
  const { access_token: value, error_description: message } = await answer.json();
  const text = JSON.stringify(value ? { count: value.length, value } : { message });
  response.writeHead(value ? 200 : 500, { 'content-type': 'application/json', 'x-id': randomUUID() }).end(text);
}

// A person opens the page of the device flow, logs in and confirms, all at once.
async function confirm(request, response) {
  const entered = new URL(request.url, issuer).searchParams.get('user_code').replace(/\W/g, '');
  const code = await provider.DeviceCode.findByUserCode(entered);
  const grant = new provider.Grant({ accountId: 'me', clientId: code.clientId });
  const { scope } = code.params;
  grant.addOIDCScope(scope);
  const grantId = await grant.save();
  Object.assign(code, { accountId: 'me', grantId, scope, authTime: Math.floor(Date.now() / 1000), claims: {} });
  await code.save();
  response.writeHead(204).end();
}

// With another key, the identities are those of another instance.
const handlers = { k1: provider.callback() };
function handle(request, response) {
  const kid = settings().key ?? 'k1';
  handlers[kid] ??= new Provider(issuer, { ...configuration, jwks: { keys: [newKey(kid)] } }).callback();
  handlers[kid](request, response);
}

server.on('request', (request, response) => {
  console.log(`${request.method} ${request.url.split('?')[0]}`);
  if (settings().down) {
    response.writeHead(503, { 'retry-after': '1' }).end();
  } else if (request.url.startsWith('/actions/')) {
    identity(request, response);
  } else if (request.url.startsWith('/confirm?')) {
    confirm(request, response);
  } else {
    handle(request, response);
  }
});
writeFileSync(`${stateFile}.new`, JSON.stringify({ issuer, keys: [publicKey] }));
renameSync(`${stateFile}.new`, stateFile);
