// Hears of bonks and shows them. What peers sent is hostile: it only ever becomes text.
import { leaders, rows, tale } from './show.js';
import { learn, play, snooze } from './stage.js';
import { bonks, daysSince, news, span } from './words.js';
import { controls } from './controls.js';

const KEPT = 50;
const RETRY_MS = 15_000;
const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

const $ = id => document.getElementById(id);
const seen = { incidents: [], total: 0, lastAt: null, snoozedUntil: null, skew: 0 };
let wakeTimer = 0;

const now = () => Date.now() + seen.skew;

function link(state, text) {
  $('link').dataset.link = state;
  if ($('link-text').textContent !== text) $('link-text').textContent = text;
}

function counts(view) {
  seen.total = view.total;
  seen.lastAt = view.last_swing_at ? Date.parse(view.last_swing_at) : null;
  seen.skew = Date.parse(view.now) - Date.now();
  leaders(view.leaderboard);
  snoozed(view.snoozed_until);
}

function snoozed(until) {
  seen.snoozedUntil = until ? Date.parse(until) : null;
  clearTimeout(wakeTimer);
  const left = seen.snoozedUntil === null ? 0 : seen.snoozedUntil - now();
  const asleep = left > 0;
  if (asleep) wakeTimer = setTimeout(() => snoozed(null), Math.min(left, DAY_MS));
  $('snoozed').hidden = !asleep;
  $('snoozed-text').textContent = asleep ? `Asleep ${span(left)} more` : '';
  snooze(asleep);
}

/** All that changes by the passing of time. */
function tick() {
  const days = daysSince(seen.lastAt, now());
  $('days').textContent = days ?? '–';
  $('days-label').textContent = `${days === 1 ? 'day' : 'days'} since the last bonk`;
  $('sign-number').textContent = days ?? '–';
  $('sign-unit').textContent = days === 1 ? 'DAY' : 'DAYS';
  $('total').textContent = seen.total.toLocaleString('en');
  $('total-label').textContent = `${bonks(seen.total)} in all`;
  tale(seen.incidents[0], now());
  rows(seen.incidents, now());
  if (seen.snoozedUntil !== null) snoozed(new Date(seen.snoozedUntil).toISOString());
}

const on = {
  state(view) {
    if (view.incidents) seen.incidents = view.incidents;
    counts(view);
    learn(view.gestures);
    controls(snoozed);
    $('server').textContent = `bonker-gpio ${view.version}, servo: ${view.backend} (${view.backend_reason})`;
    tick();
  },
  bonk(view) {
    seen.incidents = [view.incident, ...seen.incidents].slice(0, KEPT);
    counts(view);
    tick();
    $('rows').firstElementChild?.classList.add('new');
    if (!view.behind) {
      play(view.incident);
      $('news').textContent = news(view.incident);
    }
  },
  snooze(view) {
    seen.skew = Date.parse(view.now) - Date.now();
    snoozed(view.snoozed_until);
  },
};

function listen() {
  const stream = new EventSource('events');
  stream.onopen = () => link('live', 'Live');
  stream.onerror = () => {
    link('lost', 'Reconnecting');
    // Closed means refused: the browser does not try again by itself.
    if (stream.readyState === EventSource.CLOSED) {
      link('lost', 'Too many watch, or the bonker is away');
      setTimeout(listen, RETRY_MS * (0.5 + Math.random()));
    }
  };
  for (const [name, handle] of Object.entries(on)) {
    stream.addEventListener(name, event => handle(JSON.parse(event.data)));
  }
}

// Nobody reads the clock of a page that is out of sight.
setInterval(() => document.hidden || tick(), MINUTE_MS);
document.addEventListener('visibilitychange', () => document.hidden || tick());
listen();
