// Moves mallet and penguin as the servo moves: by position (0 at rest, 1 at the strike) and hold.
import { shout } from './words.js';

const REST_DEGREES = 52;
/** How far the mallet goes after the head that it pushes down. */
const FOLLOW_DEGREES = 12;
const TRAVEL_MS = 130;
/** From here on the mallet touches. */
const TOUCH = 0.6;
const DAZED_MS = 2600;
/** A gesture of the history that this server does not use any more. */
const STRIKE = [[1, 250], [0, 350]];

const svg = document.getElementById('stage');
const arm = document.getElementById('arm');
const penguin = document.getElementById('penguin');
const floe = document.getElementById('floe');
const burst = document.getElementById('burst-text');
const still = matchMedia('(prefers-reduced-motion: reduce)');

let gestures = {};
let asleep = false;
let at = 0;
let timers = [];

/** By gesture: [position, hold in ms], as the servo is told. */
export function learn(told) {
  gestures = told;
}

/** The mood between two bonks. */
export function snooze(on) {
  asleep = on;
  if (svg.dataset.gesture === undefined) svg.dataset.mood = idle();
}

/** Plays an incident's gesture; one that is under way is cut short. */
export function play(incident) {
  const steps = moves(incident.gesture);
  for (const moving of [arm, penguin, floe]) moving.getAnimations().forEach(old => old.cancel());
  timers.forEach(clearTimeout);
  timers = [];
  const length = steps.reduce((sum, [, hold]) => sum + hold, 0);
  const hard = steps.some(([position]) => position >= TOUCH);
  svg.dataset.gesture = incident.gesture;
  svg.dataset.mood = 'wary';
  burst.textContent = shout(incident);
  burst.classList.toggle('long', burst.textContent.length > 6);

  const touch = firstTouch(steps);
  after(touch, () => {
    svg.dataset.shout = '';
    if (hard) svg.dataset.mood = 'dazed';
  });
  after(Math.max(length, touch + 900), () => delete svg.dataset.shout);
  after(length + (hard ? DAZED_MS : 600), () => {
    delete svg.dataset.gesture;
    svg.dataset.mood = idle();
  });

  const last = steps.at(-1)[0];
  if (!still.matches) {
    arm.animate(frames(steps, at, length, turn), length);
    penguin.animate(frames(steps, at, length, squash), length);
    floe.animate(frames(steps, at, length, sink), length);
  }
  at = last;
  arm.style.transform = turn(last).transform;
}

/** From where the mallet is: a toggle that begins at the strike goes the other way. */
function moves(gesture) {
  const steps = gestures[gesture] ?? STRIKE;
  return gesture === 'toggle' && at === 1 ? steps.map(([position, hold]) => [1 - position, hold]) : steps;
}

const idle = () => (asleep ? 'asleep' : 'awake');
const after = (ms, run) => timers.push(setTimeout(run, ms));
const pressed = position => Math.max(0, (position - TOUCH) / (1 - TOUCH));
const turn = position => ({ transform: `rotate(${REST_DEGREES * (1 - position) - FOLLOW_DEGREES * pressed(position)}deg)` });
const squash = position => ({ transform: `scale(${1 + 0.12 * pressed(position)}, ${1 - 0.18 * pressed(position)})` });
const sink = position => ({ transform: `translateY(${10 * pressed(position)}px)` });

function firstTouch(steps) {
  let begin = 0;
  for (const [position, hold] of steps) {
    if (position > 0) return begin + Math.min(TRAVEL_MS, hold);
    begin += hold;
  }
  return 0;
}

/** Key frames that reach each position within the step and stay there for the rest of it. */
function frames(steps, from, length, pose) {
  const list = [{ ...pose(from), offset: 0, easing: 'cubic-bezier(.6, 0, .9, .6)' }];
  let begin = 0;
  for (const [position, hold] of steps) {
    const there = begin + Math.min(TRAVEL_MS, hold * 0.8);
    list.push({ ...pose(position), offset: there / length, easing: 'linear' });
    begin += hold;
    list.push({ ...pose(position), offset: Math.min(1, begin / length), easing: 'cubic-bezier(.5, 0, .7, 1)' });
  }
  return list;
}
