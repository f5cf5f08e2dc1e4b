#!/usr/bin/env node
/**
 * The command. Plain JavaScript and no product of the build: npm links a command once, and only a file that exists then,
 * so that `npx barewire` before the first build would end with "not found" for ever.
 */
import { existsSync } from 'node:fs';

const main = new URL('../dist/tools/barewire.js', import.meta.url);
if (existsSync(main)) await import(main.href);
else {
  console.error('barewire: not built yet\nhint: "npm ci" installs what the build needs, and builds');
  process.exitCode = 1;
}
