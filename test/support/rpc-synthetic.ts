import { create, createFileRegistry } from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';

import { file_carillon_v1_notification_service as FILE } from '../../gen/carillon/v1/notification_service_pb.js';
import type { MethodHandler } from '../../src/rpc/handler.ts';

const SERVICE = 'test.v1.SyntheticService';

function descriptor(): FileDescriptorProto {
  const types = {
    inputType: '.carillon.v1.GetNotificationRequest',
    outputType: '.carillon.v1.GetNotificationResponse',
  };
  return create(FileDescriptorProtoSchema, {
    name: 'test/v1/synthetic.proto',
    package: 'test.v1',
    syntax: 'proto3',
    dependency: [FILE.proto.name],
    service: [
      {
        name: 'SyntheticService',
        method: [
          { name: 'Collect', ...types, clientStreaming: true },
          { name: 'Converse', ...types, clientStreaming: true, serverStreaming: true },
        ],
      },
    ],
  });
}

type MethodOf<K extends MethodHandler['kind']> = Extract<MethodHandler, { kind: K }>['method'];

/** Methods of kinds that the API has none of, with rules on the messages of their request streams. */
export function syntheticMethod<K extends MethodHandler['kind']>(kind: K): MethodOf<K> {
  const registry = createFileRegistry(descriptor(), (name) => (name === FILE.proto.name ? FILE : undefined));
  const method = registry.getService(SERVICE)?.methods.find(({ methodKind }) => methodKind === kind);
  if (method === undefined) throw new Error(`there is no ${kind} method`);
  // Its kind was just compared.
  return method as MethodOf<K>;
}
