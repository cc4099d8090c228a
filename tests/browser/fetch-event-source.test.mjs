import { fetchEventSourceClient } from './lib/clients.mjs';
import { scenarios } from './lib/scenarios.mjs';

scenarios('@microsoft/fetch-event-source in Chromium', fetchEventSourceClient, { browser: true });
