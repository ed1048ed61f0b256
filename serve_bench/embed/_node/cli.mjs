#!/usr/bin/env node
/** Answers each word of the command line; exit status 1 where one cannot be answered. */
import { createInterface } from 'node:readline';

import { isFile, readSamples } from './files.mjs';
import { InputError, Model, quoted, withoutMarks } from './index.mjs';

const HELP = `usage: node cli.mjs [--json] INPUT…

INPUT is a text, or numbers as 0.5 or 0.1,-2, or a file: .npy, .json or .pgm (a grey image); - reads lines of stdin.`;

/** Grey of 8 bits, what is transparent white. */
const CONVERT = 'magick image.png -background white -flatten -colorspace gray -depth 8 image.pgm';

const printable = (text) => text.replace(/\p{C}/gu, '?');

async function* wordsOf(given) {
  for (const word of given) {
    if (word !== '-') yield word;
    else for await (const line of createInterface({ input: process.stdin })) if (line.trim()) yield line;
  }
}

/** { samples, note } of one word. Throws InputError. */
function read(word, model) {
  if (model.takes === 'text') {
    const plain = withoutMarks(word);
    return { samples: [word], note: plain === word ? '' : `read as ${plain}` };
  }
  if (isFile(word)) return readSamples(word, model);
  const numbers = word.split(',').map((part) => (part.trim() ? Number(part) : NaN));
  const size = model.shape.reduce((a, b) => a * b, 1);
  if (model.takes === 'image') {
    const kinds = '.npy, .json or .pgm';
    throw new InputError(`${word}: is no file that is read here: ${kinds}; ImageMagick makes one: ${CONVERT}`);
  }
  if (numbers.some(Number.isNaN)) {
    throw new InputError(`${word}: is neither numbers with commas between nor an .npy or .json file`);
  }
  if (numbers.length !== size) throw new InputError(`${word}: holds ${numbers.length} numbers, a sample is ${size}`);
  const { low = -Infinity, high = Infinity } = model.facts.inputs[0];
  const outside = numbers.find((v) => v < low || v > high);
  const note = outside === undefined ? '' : `${outside} is outside the range it was trained on, ${low} to ${high}`;
  return { samples: Float64Array.from(numbers), note };
}

function show(where, { label, probability, value }, note) {
  const said = label === undefined ? value.map((v) => Number(v.toPrecision(7))).join('  ') : `${label}  ${probability.toFixed(4)}`;
  console.log(printable(`${where}  ${said}`) + (note ? `  (${note})` : ''));
}

async function main(given) {
  const unknown = given.find((word) => /^-[^\d.]/.test(word) && !['--json', '--help', '-h'].includes(word));
  const inputs = given.filter((word) => !['--json', '--help', '-h'].includes(word));
  if (unknown || !inputs.length) {
    const asked = given.includes('--help') || given.includes('-h');
    (asked ? console.log : console.error)(unknown ? `${unknown}: no such option` : HELP);
    return asked ? 0 : 2;
  }
  const model = await Model.load();
  const found = [];
  let status = 0;
  for await (const word of wordsOf(inputs)) {
    try {
      const { samples, note } = read(word, model);
      const answers = await model.predict(samples);
      answers.forEach((answer, sample) => {
        found.push({ input: word, sample, note, ...answer });
        if (!given.includes('--json')) show(answers.length > 1 ? `${word}[${sample}]` : word, answer, note);
      });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      const named = error.message.startsWith(word) || error.message.startsWith(quoted(word));
      console.error(named ? error.message : `${word}: ${error.message}`);
      status = 1;
    }
  }
  if (given.includes('--json')) console.log(JSON.stringify(found, null, 1));
  return status;
}

process.stdout.on('error', (error) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(1); // who reads the answers has seen enough, such as head
});

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof InputError ? error.message : `the model cannot be run: ${error.message}`);
  process.exitCode = 1;
}
