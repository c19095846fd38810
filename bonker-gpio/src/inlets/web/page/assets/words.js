// Facts in words. Pure: no document, no clock.
export const GESTURES = { nudge: 'Nudge', 'double-nudge': 'Double nudge', bonk: 'Bonk', frenzy: 'Frenzy', toggle: 'Toggle' };

const SHOUTS = { nudge: 'tap', 'double-nudge': 'tap tap', bonk: 'BONK!', frenzy: 'BONK BONK', toggle: 'CLONK!' };
const VERDICTS = { leak: 'a leak', burst: 'a burst', 'at-the-limit': 'at the limit', unknown: '' };
const UNITS = [[86_400_000, 'day'], [3_600_000, 'hour'], [60_000, 'minute']];
const DAY_MS = UNITS[0][0];
const TOYS = ['page', 'bonker-gpio'];

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'always' });

export const gesture = incident => GESTURES[incident.gesture] ?? 'Bonk';
export const shout = incident => SHOUTS[incident.gesture] ?? 'BONK!';
export const bonks = n => (n === 1 ? 'bonk' : 'bonks');

/** Text with what would not be seen, or would turn what is around it, spelled out. */
export function plain(text) {
  return text.replace(/[\p{Cc}\p{Default_Ignorable_Code_Point}\p{Bidi_Control}\u2028\u2029]/gu,
    c => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** `3 minutes ago`. */
export function ago(then, now) {
  const ms = Math.max(0, now - then);
  const [unit, name] = UNITS.find(([unit]) => ms >= unit) ?? [0, ''];
  return unit === 0 ? 'just now' : relative.format(-Math.floor(ms / unit), name);
}

/** `45 minutes`, rounded up. */
export function span(ms) {
  const [unit, name] = UNITS.find(([unit]) => ms > 2 * unit) ?? UNITS[2];
  const n = Math.max(1, Math.ceil(ms / unit));
  return `${n} ${name}${n === 1 ? '' : 's'}`;
}

/** Whole days, or null where nothing is known. */
export const daysSince = (then, now) => then === null ? null : Math.max(0, Math.floor((now - then) / DAY_MS));

/** Whom it hit: namespace/pod, or what is known instead. */
export function who(incident) {
  const place = [incident.namespace, incident.pod || incident.container].filter(Boolean).join('/');
  return place || incident.comm || incident.node || (toy(incident) ? 'Somebody here' : incident.source || 'Somebody');
}

/** The same as parts of a sentence: strings are ours, objects hold what was sent. */
export function headline(incident) {
  if (toy(incident) && !incident.pod && !incident.comm) return ['Somebody could not resist the button.'];
  const name = { name: who(incident) };
  if (incident.severity === 'node') {
    const node = { name: incident.node || 'The node' };
    return incident.comm ? [node, ' ran out of memory and took ', { name: incident.comm, died: true }] : [node, ' ran out of memory'];
  }
  if (incident.severity === 'warning') return [name, ' runs short of memory'];
  if (incident.severity === 'critical') return [name, ' is about to be killed'];
  if (incident.comm && incident.comm !== name.name) return [name, ' lost ', { name: incident.comm, died: true }];
  return [name, ' was ', { name: 'OOM-killed', died: true }];
}

/** What the minute before looks like. */
export const looks = incident => VERDICTS[incident.verdict] ?? plain(incident.verdict);

/** The same for who cannot see its picture. */
export function usage(incident) {
  const percent = permille => `${Math.round(permille / 10)} %`;
  const [first, last] = [incident.usage[0], incident.usage[incident.usage.length - 1]];
  const range = `Memory in the minute before: from ${percent(first)} to ${percent(last)} of the limit, ${percent(Math.max(...incident.usage))} at most`;
  return [range, looks(incident)].filter(Boolean).join('; ');
}

/** One sentence for those who listen. */
export const news = incident =>
  `${gesture(incident)}: ${headline(incident).map(part => part.name === undefined ? part : plain(part.name)).join('')}`;

const toy = incident => TOYS.includes(incident.source);
