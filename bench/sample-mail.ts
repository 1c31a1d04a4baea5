/** The very mail that a service makes of the load generator's notification. */
import { systemRandom } from '../src/domain/id.ts';
import { Renderer } from '../src/pipeline/render.ts';
import { resolve } from '../src/pipeline/resolve.ts';
import { loadTemplates } from '../src/pipeline/templates.ts';
import { toRequest } from '../src/rpc/convert.ts';
import { sampleRequest } from './load.ts';

export interface SampleMail {
  readonly subject: string;
  readonly html: string;
  readonly text: string;
}

export async function sampleMail(): Promise<SampleMail> {
  await using templates = await loadTemplates('templates');
  const renderer = new Renderer({ templates, storeName: '', storeUrl: '', defaultLocale: 'en' });
  const { notification } = sampleRequest();
  if (!notification) throw new Error('the sample has a notification');
  const now = Date.now();
  const ids = { tenant: 'default', groupId: systemRandom.id(now), ids: [systemRandom.id(now)] };
  const [spec] = resolve(toRequest(notification), ids, now, () => {});
  if (!spec) throw new Error('the sample has a channel');
  const { subject = '', htmlBody = '', textBody = '' } = renderer.render(spec, now).content;
  return { subject, html: htmlBody, text: textBody };
}
