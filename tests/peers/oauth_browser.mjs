// A person with a browser: opens a URL, fills in the forms of `oidc-provider`'s own pages, says yes, and follows where it is sent.
//
//     oauth_browser.mjs URL
//
// Prints what the last page said.
let url = process.argv[2];
let form;
const cookies = new Map();

for (let step = 0; step < 20; step += 1) {
  const headers = { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') };
  const method = form ? 'POST' : 'GET';
  const response = await fetch(url, { method, headers, body: form, redirect: 'manual' });
  for (const line of response.headers.getSetCookie()) {
    const [, name, value] = line.match(/^([^=]+)=([^;]*)/);
    if (value) cookies.set(name, value); else cookies.delete(name);
  }
  form = undefined;
  const place = response.headers.get('location');
  if (place) {
    url = new URL(place, url).href;
    continue;
  }
  const page = await response.text();
  const action = page.match(/<form[^>]*action="([^"]+)"/)?.[1];
  if (!action) {
    console.log(page);
    process.exit(response.ok ? 0 : 1);
  }
  url = new URL(action, url).href;
  const prompt = page.match(/name="prompt" value="([^"]+)"/)[1];
  form = new URLSearchParams(prompt === 'login' ? { prompt, login: 'somebody', password: 'secret' } : { prompt });
}
throw new Error('it goes on for ever');
