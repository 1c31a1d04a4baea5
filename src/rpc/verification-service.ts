/** VerificationService: whether an address can be written to. */
import { Resolver } from 'node:dns/promises';
import {
  EmailVerdict as ProtoEmailVerdict,
  PhoneType as ProtoPhoneType,
  VerificationService,
} from '../../gen/carillon/v1/verification_service_pb.js';
import { SECOND } from '../domain/clock.ts';
import type { Route } from '../providers/provider.ts';
import { domainOf, mailDomain } from '../verify/email.ts';
import type { DnsOptions, EmailVerdict } from '../verify/email.ts';
import { verifyPhone } from '../verify/phone.ts';
import type { PhoneType } from '../verify/phone.ts';
import { implement } from './handler.ts';
import type { ServiceImplementation } from './handler.ts';

export const emailVerdictTo: Readonly<Record<EmailVerdict, ProtoEmailVerdict>> = {
  valid: ProtoEmailVerdict.VALID,
  syntax: ProtoEmailVerdict.SYNTAX,
  no_domain: ProtoEmailVerdict.NO_DOMAIN,
  no_mail: ProtoEmailVerdict.NO_MAIL,
  unknown: ProtoEmailVerdict.UNKNOWN,
};

export const phoneTypeTo: Readonly<Record<PhoneType, ProtoPhoneType>> = {
  mobile: ProtoPhoneType.MOBILE,
  landline: ProtoPhoneType.LANDLINE,
  mobile_or_landline: ProtoPhoneType.MOBILE_OR_LANDLINE,
  voip: ProtoPhoneType.VOIP,
  other: ProtoPhoneType.OTHER,
};

export interface VerificationServiceOptions {
  /** The route of text messages. */
  readonly smsRoute: () => readonly Route[];
  /** Default: the machine's own DNS servers, each asked twice. */
  readonly dns?: DnsOptions;
}

const SYSTEM_DNS: DnsOptions = { openResolver: () => new Resolver({ timeout: 2 * SECOND, tries: 2 }) };

export function createVerificationService(options: VerificationServiceOptions): ServiceImplementation {
  const { smsRoute, dns = SYSTEM_DNS } = options;
  return implement(VerificationService, {
    async verifyEmail({ email, checkMx }, { signal }) {
      const domain = domainOf(email);
      if (domain === undefined) return { verdict: emailVerdictTo.syntax };
      const ascii = `${email.slice(0, email.lastIndexOf('@'))}@${domain}`;
      if (!checkMx) return { verdict: emailVerdictTo.valid, email: ascii };
      const { verdict, hosts } = await mailDomain(domain, dns, signal);
      return { verdict: emailVerdictTo[verdict], mxHosts: [...hosts], email: ascii };
    },

    async verifyPhone({ phone, country, lookUp }, { signal }) {
      const question = { phone, lookUp, ...(country && { country }) };
      const { type, ...facts } = await verifyPhone(question, { route: smsRoute() }, signal);
      return { ...facts, ...(type && { type: phoneTypeTo[type] }) };
    },
  });
}
