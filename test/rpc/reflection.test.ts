import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { createFileRegistry, type DescMessage, fromBinary, getExtension } from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { create } from '@bufbuild/protobuf';
import { field as fieldRules } from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js';
import { createClient } from '@connectrpc/connect';
import { expect } from 'chai';

import {
  ServerReflection as ReflectionV1,
  type ServerReflectionRequest,
} from '../../gen/grpc/reflection/v1/reflection_pb.js';
import { ServerReflection as ReflectionV1alpha } from '../../gen/grpc/reflection/v1alpha/reflection_pb.js';
import { SOME_ID } from '../support/rpc-notifications.ts';
import { type RpcServer, startRpc } from '../support/rpc-server.ts';

const run = promisify(execFile);
const SERVICE = 'carillon.v1.NotificationService';
const EXTENDED = 'google.protobuf.FieldOptions';
/** Of buf.validate.field. */
const RULES_NUMBER = 1159;

type Question = Exclude<
  ServerReflectionRequest['messageRequest'],
  { case: undefined } | { case: 'fileContainingExtension' }
>;

for (const [version, service] of [
  ['v1', ReflectionV1],
  ['v1alpha', ReflectionV1alpha],
] as const) {
  describe(`reflection ${version}`, () => {
    async function ask(
      rpc: RpcServer,
      messageRequest:
        | Question
        | { case: 'fileContainingExtension'; value: { containingType: string; extensionNumber: number } },
    ) {
      const client = createClient(service, rpc.transport('gRPC'));
      async function* requests() {
        yield { host: 'h', messageRequest };
      }
      for await (const answer of client.serverReflectionInfo(requests())) return answer;
      throw new Error('no answer');
    }

    async function files(rpc: RpcServer, question: Parameters<typeof ask>[1]): Promise<FileDescriptorProto[]> {
      const { messageResponse } = await ask(rpc, question);
      if (messageResponse.case !== 'fileDescriptorResponse') throw new Error(`answered ${messageResponse.case}`);
      return messageResponse.value.fileDescriptorProto.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes));
    }

    it('lists every service, health and itself', async () => {
      await using rpc = await startRpc();
      const { messageResponse, validHost, originalRequest } = await ask(rpc, { case: 'listServices', value: '' });
      expect(validHost).to.equal('h');
      expect(originalRequest?.messageRequest.case).to.equal('listServices');
      if (messageResponse.case !== 'listServicesResponse') throw new Error(`answered ${messageResponse.case}`);
      expect(messageResponse.value.service.map(({ name }) => name)).to.have.members([
        SERVICE,
        'grpc.health.v1.Health',
        'grpc.reflection.v1.ServerReflection',
        'grpc.reflection.v1alpha.ServerReflection',
      ]);
    });

    for (const symbol of [SERVICE, `${SERVICE}.SendNotification`, 'carillon.v1.SendNotificationRequest']) {
      it(`finds the file of ${symbol} with all it imports`, async () => {
        await using rpc = await startRpc();
        const found = await files(rpc, { case: 'fileContainingSymbol', value: symbol });
        expect(found[0]?.name).to.equal('carillon/v1/notification_service.proto');
        const names = found.map(({ name }) => name);
        for (const file of found) expect(names).to.include.members(file.dependency);
      });
    }

    it('keeps the rules in the descriptors', async () => {
      await using rpc = await startRpc();
      const file = await files(rpc, { case: 'fileByFilename', value: 'carillon/v1/notification_service.proto' });
      const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: inOrder(file) }));
      const request: DescMessage | undefined = registry.getMessage('carillon.v1.GetNotificationRequest');
      const options = request?.fields[0]?.proto.options;
      expect(options && getExtension(options, fieldRules).required).to.equal(true);
    });

    it('finds extensions by type and number', async () => {
      await using rpc = await startRpc();
      const question = { containingType: EXTENDED, extensionNumber: RULES_NUMBER };
      const [first] = await files(rpc, { case: 'fileContainingExtension', value: question });
      expect(first?.name).to.equal('buf/validate/validate.proto');
      const { messageResponse } = await ask(rpc, { case: 'allExtensionNumbersOfType', value: EXTENDED });
      if (messageResponse.case !== 'allExtensionNumbersResponse') throw new Error(`answered ${messageResponse.case}`);
      expect(messageResponse.value.baseTypeName).to.equal(EXTENDED);
      expect(messageResponse.value.extensionNumber).to.include(RULES_NUMBER);
    });

    it('answers what it does not know and goes on', async () => {
      await using rpc = await startRpc();
      const client = createClient(service, rpc.transport('gRPC'));
      async function* requests() {
        yield { messageRequest: { case: 'fileContainingSymbol', value: 'no.Such' } } as const;
        yield { messageRequest: { case: 'fileByFilename', value: 'no.proto' } } as const;
        yield { messageRequest: { case: 'allExtensionNumbersOfType', value: 'no.Type' } } as const;
        yield {
          messageRequest: { case: 'fileContainingExtension', value: { containingType: EXTENDED, extensionNumber: 1 } },
        } as const;
        yield { messageRequest: { case: 'listServices', value: '' } } as const;
      }
      const cases: (string | undefined)[] = [];
      for await (const { messageResponse } of client.serverReflectionInfo(requests())) cases.push(messageResponse.case);
      expect(cases).to.deep.equal([...Array.from({ length: 4 }, () => 'errorResponse'), 'listServicesResponse']);
    });
  });
}

/** A registry wants a file after those it imports. */
function inOrder(files: readonly FileDescriptorProto[]): FileDescriptorProto[] {
  const ordered = new Set<FileDescriptorProto>();
  const add = (file: FileDescriptorProto): void => {
    for (const name of file.dependency) {
      const imported = files.find((other) => other.name === name);
      if (imported) add(imported);
    }
    ordered.add(file);
  };
  for (const file of files) add(file);
  return [...ordered];
}

describe('tools without a schema', () => {
  async function isThere(command: string, args: readonly string[]): Promise<boolean> {
    return run(command, args).then(
      () => true,
      (thrown: unknown) => {
        if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return false;
        throw thrown;
      },
    );
  }

  const buf = (...args: string[]): Promise<{ stdout: string }> =>
    run('npx', ['--no', 'buf', 'curl', '--http2-prior-knowledge', '--protocol', 'grpc', ...args]);

  it('list and call through buf curl', async () => {
    await using rpc = await startRpc();
    const list = await buf('--list-services', rpc.grpcUrl);
    expect(list.stdout.split('\n')).to.include(SERVICE);
    const call = await buf('-d', JSON.stringify({ id: SOME_ID }), `${rpc.grpcUrl}/${SERVICE}/GetNotification`);
    expect(JSON.parse(call.stdout)).to.deep.include({
      notification: { id: SOME_ID, version: '9007199254740993', metadata: { a: 'b' } },
    });
  });

  it('list, describe and call through grpcurl; skipped where the machine has none', async function () {
    if (!(await isThere('grpcurl', ['-version']))) return this.skip();
    await using rpc = await startRpc();
    const list = await run('grpcurl', ['-plaintext', rpc.grpcTarget, 'list']);
    expect(list.stdout.split('\n')).to.include(SERVICE);
    const description = await run('grpcurl', [
      '-plaintext',
      rpc.grpcTarget,
      'describe',
      `${SERVICE}.WatchNotifications`,
    ]);
    expect(description.stdout).to.contain('.carillon.v1.WatchNotificationsRequest');
    const args = ['-plaintext', '-d', JSON.stringify({ id: SOME_ID }), rpc.grpcTarget, `${SERVICE}/GetNotification`];
    const call = await run('grpcurl', args);
    expect(JSON.parse(call.stdout)).to.deep.include({
      notification: { id: SOME_ID, version: '9007199254740993', metadata: { a: 'b' } },
    });
  });
});
