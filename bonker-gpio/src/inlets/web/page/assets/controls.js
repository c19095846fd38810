// The two buttons, and the token that a server may want for them.
import { plain, span } from './words.js';

const $ = id => document.getElementById(id);
const WORDS = {
  accepted: 'Accepted: here it comes.', coalesced: 'Counted with the one before.', full: 'Too many wait already. Try again later.',
  rate_limited: 'Not so fast. Try again later.', quiet: 'Counted, but the penguin is left in peace now.',
  expired: 'Too late.', duplicate: 'That one was told before.',
};

let token = null;
let told = () => {};

/** Says whom to tell of a snooze. */
export function controls(snoozed) {
  told = snoozed;
}

function answer(text, bad = false) {
  $('answer').textContent = text;
  $('answer').toggleAttribute('data-bad', bad);
}

async function post(path, body) {
  const headers = { 'content-type': 'application/json' };
  if (token !== null) headers.authorization = `Bearer ${token}`;
  return fetch(path, { method: 'POST', headers, body: JSON.stringify(body), credentials: 'same-origin' });
}

/** Posts, and asks for the token until it is right; null where nothing came of it. */
async function ask(path, body) {
  try {
    let response = await post(path, body);
    while (response.status === 401) {
      const wrong = token !== null;
      token = await given(wrong);
      if (token === null) {
        answer('That takes the token. Nothing was moved.', true);
        return null;
      }
      response = await post(path, body);
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

/** What somebody types into the dialog; null if nobody does. It is kept in memory alone. */
function given(wrong) {
  const dialog = $('token');
  $('token-wrong').hidden = !wrong;
  $('token-text').setAttribute('aria-invalid', wrong);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise(resolve => dialog.addEventListener('close', () => {
    const typed = $('token-text').value.trim();
    $('token-text').value = '';
    resolve(dialog.returnValue === 'ok' && typed ? typed : null);
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
  ($('snoozed').hidden ? $('span') : $('wake')).focus();
});
$('token-cancel').addEventListener('click', () => $('token').close(''));
