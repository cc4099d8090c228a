import { npmEventSourceClient } from './lib/clients.mjs';
import { scenarios } from './lib/scenarios.mjs';

scenarios('npm eventsource', npmEventSourceClient, { browser: false });
