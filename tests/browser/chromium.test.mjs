import { chromiumClient } from './lib/clients.mjs';
import { scenarios } from './lib/scenarios.mjs';

scenarios('Chromium', chromiumClient, { browser: true });
