import type { ProviderDefinition } from '../../src/providers/definition.ts';
import type { Message } from '../../src/providers/provider.ts';
import type { GivenSettings } from '../../test/providers/open-provider.ts';

/** Where the doubles of the services are. */
export interface Doubles {
  /** `http://127.0.0.1:port`; the first part of a path says whose service it is. */
  readonly http: string;
  /** `https://127.0.0.1:port`: HTTP/2 and HTTP/1.1. */
  readonly tls: string;
  readonly smtpPort: number;
}

/** Calls at the same time, on every side. */
export const IN_FLIGHT = 50;

/** Sends the message once, without the provider; rejects unless the service took it. */
export type Bare = () => Promise<unknown>;

export interface Contest {
  /** What the provider is set up with and sends. */
  readonly settings: GivenSettings;
  readonly message: Message;
  /** By what it is that sends instead. */
  readonly against: Readonly<Record<string, Bare>>;
  /** Closes connections that would keep the process alive. */
  readonly close?: () => void;
}

export interface Subject {
  readonly definition: ProviderDefinition;
  prepare(doubles: Doubles): Promise<Contest>;
}
