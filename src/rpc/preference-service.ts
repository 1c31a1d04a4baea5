/** PreferenceService: to whom nothing is sent. */
import { create } from '@bufbuild/protobuf';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { RecipientSchema } from '../../gen/carillon/v1/notification_pb.js';
import { PreferenceService } from '../../gen/carillon/v1/preference_service_pb.js';
import type {
  ListSuppressionsRequest,
  SuppressedAddress,
  SuppressionSchema,
} from '../../gen/carillon/v1/preference_service_pb.js';
import type { Channel } from '../domain/notification.ts';
import { phoneFault } from '../domain/phone.ts';
import { SUPPRESSION_REASONS } from '../domain/suppression.ts';
import type { Suppression } from '../domain/suppression.ts';
import { CarillonError, invalidField } from '../errors.ts';
import type { Suppressor } from '../pipeline/suppress.ts';
import type { SuppressionQuery } from '../storage/storage.ts';
import { channelFrom, channelTo, suppressionReasonTo } from './enums.ts';
import { implement } from './handler.ts';
import type { ServiceImplementation } from './handler.ts';
import { createValidate } from './validate.ts';
import type { Validate } from './validate.ts';

const DEFAULT_PAGE = 20;

export interface PreferenceServiceOptions {
  readonly suppressor: Suppressor;
}

export function createPreferenceService({ suppressor }: PreferenceServiceOptions): ServiceImplementation {
  const validate = createValidate();
  return implement(PreferenceService, {
    async listSuppressions(request, { tenant }) {
      const limit = request.pageSize || DEFAULT_PAGE;
      const page = await list(suppressor, { request, tenant, limit });
      const last = page.length === limit ? page.at(-1) : undefined;
      return { suppressions: page.map(fromSuppression), nextPageToken: last ? encodePage(last) : '' };
    },

    async addSuppression(request, { tenant }) {
      const { detail } = request;
      const place = toPlace(request.address);
      checkForm(place, validate);
      await suppressor.add([{ tenant, ...place, reason: 'manual', source: 'api', ...(detail && { detail }) }]);
      return {};
    },

    async removeSuppression(request, { tenant }) {
      if (!(await suppressor.remove({ tenant, ...toPlace(request.address) }))) {
        throw new CarillonError('SUPPRESSION_NOT_FOUND', 'nothing stands against this address with this category');
      }
      return {};
    },
  });
}

interface Listing {
  readonly request: ListSuppressionsRequest;
  readonly tenant: string;
  readonly limit: number;
}

async function list(suppressor: Suppressor, { request, tenant, limit }: Listing): Promise<readonly Suppression[]> {
  const channel = channelFrom[request.channel];
  const after = request.pageToken ? decodePage(request.pageToken) : undefined;
  if (!request.address) {
    return await suppressor.list({ tenant, ...(channel && { channel }), ...(after && { after }), limit });
  }
  if (!channel) throw invalidField('channel', 'is needed with address');
  const all = await suppressor.of(tenant, channel, request.address);
  // All have the same hash, so category and reason alone are their place.
  const placeOf = ({ category = '', reason }: Pick<Suppression, 'category' | 'reason'>): string =>
    `${category} ${reason}`;
  const above = all.filter((one) => after === undefined || placeOf(one) > placeOf(after));
  return above.toSorted((a, b) => (placeOf(a) < placeOf(b) ? -1 : 1)).slice(0, limit);
}

interface Place {
  readonly channel: Channel;
  readonly address: string;
  readonly category?: string;
}

function toPlace(named: SuppressedAddress | undefined): Place {
  const channel = named && channelFrom[named.channel];
  if (!named || !channel) throw invalidField('address.channel', 'is required');
  const { address, category } = named;
  return { channel, address, ...(category && { category }) };
}

/** Where a recipient has the addresses of a channel; the rules of the others say nothing of their form. */
const FIELDS: Partial<Readonly<Record<Channel, 'email' | 'phone' | 'webhookUrl' | 'discordWebhookUrl'>>> = {
  email: 'email',
  sms: 'phone',
  webhook: 'webhookUrl',
  discord: 'discordWebhookUrl',
};

/** An address that no recipient can have, such as a number without its country code, would never stop anything. */
function checkForm({ channel, address }: Place, validate: Validate): void {
  if (address.trim() === '') throw invalidField('address.address', 'must not be blank');
  const field = FIELDS[channel];
  if (field === undefined) return;
  const fault = field === 'phone' ? phoneFault(address.trim()) : undefined;
  if (fault !== undefined) throw invalidField('address.address', fault);
  try {
    validate(RecipientSchema, create(RecipientSchema, { [field]: address.trim() }));
  } catch (thrown) {
    const { reason, violations } = CarillonError.from(thrown);
    if (reason !== 'INVALID_FIELD') throw thrown;
    throw invalidField('address.address', violations.map(({ description }) => description).join('; '));
  }
}

const fromSuppression = (s: Suppression): MessageInitShape<typeof SuppressionSchema> => ({
  channel: channelTo[s.channel],
  category: s.category ?? '',
  reason: suppressionReasonTo[s.reason],
  source: s.source,
  detail: s.detail ?? '',
  createdAt: timestampFromMs(s.createdAt),
});

type Position = NonNullable<SuppressionQuery['after']>;

/** SHA-256. */
const HASH_BYTES = 32;
const CATEGORY = /^([a-z][a-z0-9_.-]{0,63})?$/;

/** The place of the last one of a page: the bytes of its hash, and its reason and category behind them. */
function encodePage({ addressHash, category = '', reason }: Suppression): string {
  return Buffer.concat([Buffer.from(addressHash, 'hex'), Buffer.from(`${reason}:${category}`)]).toString('base64url');
}

function decodePage(token: string): Position {
  const bytes = Buffer.from(token, 'base64url');
  const [word = '', category = '', ...more] = bytes.subarray(HASH_BYTES).toString('latin1').split(':');
  const reason = SUPPRESSION_REASONS.find((one) => one === word);
  // Buffer passes over what is not base64url.
  const isWhole = bytes.toString('base64url') === token && more.length === 0;
  if (reason === undefined || !isWhole || !CATEGORY.test(category)) {
    throw new CarillonError('PAGE_TOKEN_INVALID', 'the page token was not made by this service');
  }
  return { addressHash: bytes.toString('hex', 0, HASH_BYTES), category, reason };
}
