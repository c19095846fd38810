// From facts to elements; text by textContent only.
import { ago, bonks, gesture, headline, looks, plain, usage, who } from './words.js';

const $ = id => document.getElementById(id);
const clone = id => $(id).content.firstElementChild.cloneNode(true);

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 120, HEIGHT = 24, FULL = 1000;

/** The latest incident, told large. */
export function tale(incident, now) {
  if (!incident) return;
  const where = [ago(Date.parse(incident.swung_at), now), incident.node && `on ${plain(incident.node)}`, incident.source && `by ${plain(incident.source)}`];
  $('eyebrow').textContent = where.filter(Boolean).join(' · ');
  $('headline').replaceChildren(...headline(incident).map(element));
  $('why').textContent = plain(incident.summary);
  if ($('usage').dataset.key === incident.position) return;
  $('usage').dataset.key = incident.position;
  $('usage').replaceChildren(...minute(incident));
}

/** The history, newest first. Rows that are there already are kept, with their focus. */
export function rows(incidents, now) {
  const body = $('rows');
  const known = new Map(Array.from(body.children, row => [row.dataset.key, row]));
  body.replaceChildren(...incidents.map(incident => {
    const found = known.get(incident.position) ?? row(incident);
    found.querySelector('time').textContent = ago(Date.parse(incident.swung_at), now);
    return found;
  }));
  $('history').hidden = incidents.length === 0;
  $('no-history').hidden = incidents.length > 0;
}

/** Who was bonked most, with bars as long as their share of the first one's. */
export function leaders(board) {
  const most = Math.max(1, ...board.map(leader => leader.bonks));
  $('leaders').replaceChildren(...board.map(leader => {
    const item = clone('leader');
    item.querySelector('bdi').textContent = plain(leader.namespace) || 'no namespace';
    item.querySelector('.leader-count').textContent = `${leader.bonks.toLocaleString('en')} ${bonks(leader.bonks)}`;
    item.querySelector('.bar span').style.width = `${(100 * leader.bonks) / most}%`;
    return item;
  }));
  $('no-leaders').hidden = board.length > 0;
}

function row(incident) {
  const made = clone('row');
  const text = (selector, content) => { made.querySelector(selector).textContent = content; };
  made.dataset.key = incident.position;
  const time = made.querySelector('time');
  time.dateTime = incident.swung_at;
  time.title = new Date(incident.swung_at).toLocaleString();
  text('.name', plain(who(incident)));
  text('.where', [incident.container, incident.node].filter(Boolean).map(plain).join(' on '));
  text('.because bdi', plain(incident.summary));
  made.querySelector('.because bdi').title = plain(incident.summary);
  made.querySelector('.usage').append(...minute(incident));
  text('.chip', gesture(incident));
  made.querySelector('.chip').dataset.gesture = incident.gesture;
  text('.more', incident.coalesced > 0 ? `and ${incident.coalesced} more` : '');
  return made;
}

/** The memory of the minute before as a line, and what it looks like; nothing where nobody looked. */
function minute(incident) {
  if (!(incident.usage?.length > 1)) return [];
  const figure = document.createElementNS(SVG, 'svg');
  const set = (node, attributes) => Object.entries(attributes).forEach(([name, value]) => node.setAttribute(name, value));
  set(figure, { class: 'spark', viewBox: `0 -2 ${WIDTH} ${HEIGHT + 4}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': usage(incident) });
  const step = WIDTH / (incident.usage.length - 1);
  const points = incident.usage.map((permille, n) => `${(n * step).toFixed(1)},${(HEIGHT * (1 - permille / FULL)).toFixed(1)}`);
  const area = document.createElementNS(SVG, 'polygon');
  set(area, { class: 'spark-area', points: [`0,${HEIGHT}`, ...points, `${WIDTH},${HEIGHT}`].join(' ') });
  const limit = document.createElementNS(SVG, 'line');
  set(limit, { class: 'spark-limit', x1: 0, y1: 0, x2: WIDTH, y2: 0 });
  const line = document.createElementNS(SVG, 'polyline');
  set(line, { class: 'spark-line', points: points.join(' ') });
  figure.append(area, limit, line);
  const verdict = document.createElement('bdi');
  verdict.className = 'verdict';
  verdict.textContent = looks(incident);
  return [figure, verdict];
}

function element(part) {
  if (part.name === undefined) return document.createTextNode(part);
  const bdi = document.createElement('bdi');
  if (part.died) bdi.className = 'died';
  bdi.textContent = plain(part.name);
  return bdi;
}
