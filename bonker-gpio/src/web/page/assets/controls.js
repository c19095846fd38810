// The two buttons, and the token that a server may want for them.
import { plain, span } from './words.js';

const $ = id => document.getElementById(id);
const KEY = 'bonker-token';
const WORDS = {
  accepted: 'Accepted: here it comes.', coalesced: 'Counted with the one before.', full: 'Too many wait already. Try again later.',
  rate_limited: 'Not so fast. Try again later.', quiet: 'Counted, but the penguin is left in peace now.',
  expired: 'Too late.', duplicate: 'That one was told before.',
};

let locked = false;
let told = () => {};

/** Says whether a token is wanted, and whom to tell of a snooze. */
export function controls(wanted, snoozed) {
  locked = wanted;
  told = snoozed;
}

function answer(text, bad = false) {
  $('answer').textContent = text;
  $('answer').toggleAttribute('data-bad', bad);
}

async function post(path, body) {
  const headers = { 'content-type': 'application/json' };
  const token = sessionStorage.getItem(KEY);
  if (token) headers.authorization = `Bearer ${token}`;
  return fetch(path, { method: 'POST', headers, body: JSON.stringify(body), credentials: 'same-origin' });
}

/** Posts, and asks for a token where one is wanted; null where nothing came of it. */
async function ask(path, body) {
  try {
    if (locked && !sessionStorage.getItem(KEY) && !(await token())) return null;
    const response = await post(path, body);
    if (response.status === 401) {
      sessionStorage.removeItem(KEY);
      locked = true;
      answer('That token is not the right one.', true);
      return null;
    }
    const said = await response.json();
    if (!response.ok) {
      answer(plain(said.error ?? `The bonker answered ${response.status}.`), true);
      return null;
    }
    return said;
  } catch {
    answer('The bonker cannot be reached.', true);
    return null;
  }
}

/** Resolves to whether one was given. */
function token() {
  const dialog = $('token');
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise(resolve => dialog.addEventListener('close', () => {
    const given = dialog.returnValue === 'ok' && $('token-text').value.trim();
    if (given) sessionStorage.setItem(KEY, given);
    $('token-text').value = '';
    resolve(Boolean(given));
  }, { once: true }));
}

function button(form, run) {
  form.addEventListener('submit', async event => {
    event.preventDefault();
    const pressed = form.querySelector('button');
    pressed.disabled = true;
    answer('');
    await run();
    pressed.disabled = false;
    pressed.focus();
  });
}

async function rest(seconds) {
  const said = await ask('api/snooze', { seconds });
  if (!said) return;
  told(said.snoozed_until);
  answer(seconds ? `Asleep for ${span(seconds * 1000)}.` : 'Awake.');
}

button($('try'), async () => {
  const said = await ask('api/bonk', { severity: $('severity').value });
  if (said) answer(said.message ? plain(said.message) : WORDS[said.outcome] ?? said.outcome, said.outcome === 'rejected');
});
button($('snooze'), () => rest(Number($('span').value)));
$('wake').addEventListener('click', async () => {
  await rest(0);
  $('span').focus();
});
$('token-cancel').addEventListener('click', () => $('token').close(''));
