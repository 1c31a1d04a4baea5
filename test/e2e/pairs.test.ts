/** Everything a caller is promised, over the wire, on every pair of store and queue. */
import { onCluster, onEmbedded, type PairRig, type Suites } from '../support/pairs.ts';
import { badInput } from './bad-input.ts';
import { devices } from './devices.ts';
import { failOver, routeDown } from './fail-over.ts';
import { sendingManyTimes } from './idempotency.ts';
import { failingQueue, queueAway, storeAway } from './outages.ts';
import { commandLine, localWebhooks, oneFile, stopping, tools } from './process.ts';
import { rateLimit, sharedRateLimit } from './rate-limit.ts';
import { reading, tenantsAndScopes } from './read.ts';
import { lostAnswers, receipts, receiptsInACluster } from './receipts.ts';
import { relays } from './relays.ts';
import { reDriving, retries } from './retries.ts';
import { cancelling, priorities, times } from './schedule.ts';
import { sending } from './send.ts';
import { shares } from './shares.ts';
import { endOfMemory, watching } from './watch.ts';

const onBoth: Suites<PairRig> = {
  sending,
  'sending many times': sendingManyTimes,
  'a queue that fails': failingQueue,
  stopping,
  'webhooks to this machine': localWebhooks,
  'tools that know no schema': tools,
  'a rate limit': rateLimit,
  reading,
  'tenants and scopes': tenantsAndScopes,
  'two mail relays': relays,
  'fail-over': failOver,
  'a route that is down': routeDown,
  'the shares of providers': shares,
  devices,
  receipts,
  'receipts of lost answers': lostAnswers,
  retries,
  're-driving': reDriving,
  times,
  cancelling,
  priorities,
  watching,
  'the end of the feed’s memory': endOfMemory,
};

onEmbedded('end to end', {
  ...onBoth,
  'bad input': badInput,
  'one SQLite file': oneFile,
  'the command line': commandLine,
});

onCluster('end to end', {
  ...onBoth,
  'a store that cannot be reached': storeAway,
  'a queue that cannot be reached': queueAway,
  'a rate limit over two processes': sharedRateLimit,
  'receipts in a cluster': receiptsInACluster,
});
