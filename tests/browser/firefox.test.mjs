import { firefoxClient } from './lib/clients.mjs';
import { scenarios } from './lib/scenarios.mjs';

scenarios('Firefox', firefoxClient, { browser: true });
