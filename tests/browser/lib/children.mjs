// Child processes and temporary folders that never outlive the test process.
//
// Every child is a process group of its own and is killed by pid when the test process ends, however
// it ends: on a normal exit or a signal by the handlers below, on SIGKILL by the kernel (setpriv).

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const children = new Set();
const folders = new Set();
let guard;

// The prefix that makes the kernel kill the child with us; empty where setpriv is missing.
function parentDeathGuard() {
  if (guard === undefined) {
    const prefix = ['setpriv', '--pdeathsig', 'KILL', '--'];
    const probe = spawnSync(prefix[0], [...prefix.slice(1), 'true'], { stdio: 'ignore' });
    guard = probe.status === 0 ? prefix : [];
  }
  return guard;
}

function killGroup(child, signal) {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // already gone
  }
}

/** Starts a program; `child.gone` resolves to {code, signal} when it has ended. */
export function start(program, args, options = {}) {
  const [command, ...rest] = [...parentDeathGuard(), program, ...args];
  const child = spawn(command, rest, { stdio: ['ignore', 'ignore', 'pipe'], ...options, detached: true });
  children.add(child);
  child.gone = new Promise((resolve) => {
    const done = (code, signal) => {
      killGroup(child, 'SIGKILL'); // what it left behind
      children.delete(child);
      resolve({ code, signal });
    };
    child.once('exit', done);
    child.once('error', (error) => done(error.code, null));
  });
  return child;
}

/** Ends a child (with SIGKILL, if it outstays the patience) and says how it went. */
export async function stop(child, signal = 'SIGKILL', patience = 8000) {
  if (!children.has(child)) return child.gone;
  child.kill(signal);
  const timer = setTimeout(() => killGroup(child, 'SIGKILL'), patience);
  const result = await child.gone;
  clearTimeout(timer);
  return result;
}

/** A temporary folder that is removed when the process ends, if not before. */
export function temporaryFolder(name) {
  const folder = mkdtempSync(path.join(tmpdir(), `tickerd-browser-${name}-`));
  folders.add(folder);
  return folder;
}

export function removeFolder(folder) {
  try {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
    folders.delete(folder);
  } catch {
    // tried again when the process ends
  }
}

process.on('exit', () => {
  for (const child of children) killGroup(child, 'SIGKILL');
  for (const folder of folders) removeFolder(folder);
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => process.exit(1));
}

// The test runner may be killed without a chance to tell us.
const parent = process.ppid;
setInterval(() => {
  if (process.ppid !== parent) process.exit(1);
}, 500).unref();
