/**
 * grpc.reflection v1 and v1alpha, answered with the descriptors that the code was generated from, options included, so
 * that tools need no schema.
 */
import { type DescFile, type DescMessage, type DescService, toBinary } from '@bufbuild/protobuf';
import { nestedTypes } from '@bufbuild/protobuf/reflect';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { status as codes } from '@grpc/grpc-js';

import {
  ServerReflection as ReflectionV1,
  type ServerReflectionRequest as RequestV1,
} from '../../gen/grpc/reflection/v1/reflection_pb.js';
import {
  ServerReflection as ReflectionV1alpha,
  type ServerReflectionRequest as RequestV1alpha,
} from '../../gen/grpc/reflection/v1alpha/reflection_pb.js';
import { fullName, implement, type ServiceImplementation } from './handler.ts';

/** The two versions differ in nothing but the package. */
type Question = RequestV1['messageRequest'] | RequestV1alpha['messageRequest'];
type Answer =
  | { readonly case: 'fileDescriptorResponse'; readonly value: { fileDescriptorProto: Uint8Array[] } }
  | {
      readonly case: 'allExtensionNumbersResponse';
      readonly value: { baseTypeName: string; extensionNumber: number[] };
    }
  | { readonly case: 'listServicesResponse'; readonly value: { service: { name: string }[] } }
  | { readonly case: 'errorResponse'; readonly value: { errorCode: number; errorMessage: string } };

/** Both versions of reflection, for these services and for themselves. */
export function reflectionServices(services: readonly DescService[]): ServiceImplementation[] {
  const index = new DescriptorIndex([...services, ReflectionV1, ReflectionV1alpha]);
  return [
    implement(ReflectionV1, {
      async *serverReflectionInfo(requests) {
        for await (const originalRequest of requests) {
          const messageResponse = index.answer(originalRequest.messageRequest);
          yield { validHost: originalRequest.host, originalRequest, messageResponse };
        }
      },
    }),
    implement(ReflectionV1alpha, {
      async *serverReflectionInfo(requests) {
        for await (const originalRequest of requests) {
          const messageResponse = index.answer(originalRequest.messageRequest);
          yield { validHost: originalRequest.host, originalRequest, messageResponse };
        }
      },
    }),
  ];
}

class DescriptorIndex {
  readonly #services: readonly DescService[];
  readonly #files = new Map<string, DescFile>();
  readonly #symbols = new Map<string, DescFile>();
  readonly #messages = new Set<string>();
  /** By the name of the extended message, then by field number. */
  readonly #extensions = new Map<string, Map<number, DescFile>>();

  constructor(services: readonly DescService[]) {
    this.#services = services;
    for (const service of services) this.#addFile(service.file);
  }

  answer(question: Question): Answer {
    switch (question.case) {
      case 'listServices':
        return {
          case: 'listServicesResponse',
          value: { service: this.#services.map((service) => ({ name: service.typeName })) },
        };
      case 'fileByFilename':
        return fileAnswer(this.#files.get(question.value), question.value);
      case 'fileContainingSymbol':
        return fileAnswer(this.#symbols.get(question.value), question.value);
      case 'fileContainingExtension': {
        const { containingType, extensionNumber } = question.value;
        const file = this.#extensions.get(containingType)?.get(extensionNumber);
        return fileAnswer(file, `extension ${extensionNumber} of ${containingType}`);
      }
      case 'allExtensionNumbersOfType': {
        const baseTypeName = question.value;
        if (!this.#messages.has(baseTypeName)) return notFound(baseTypeName);
        const extensionNumber = [...(this.#extensions.get(baseTypeName)?.keys() ?? [])];
        return { case: 'allExtensionNumbersResponse', value: { baseTypeName, extensionNumber } };
      }
      case undefined:
        return {
          case: 'errorResponse',
          value: { errorCode: codes.INVALID_ARGUMENT, errorMessage: 'the request asks for nothing' },
        };
    }
  }

  #addFile(file: DescFile): void {
    if (this.#files.has(file.proto.name)) return;
    this.#files.set(file.proto.name, file);
    for (const dependency of file.dependencies) this.#addFile(dependency);
    for (const type of nestedTypes(file)) {
      this.#symbols.set(type.typeName, file);
      if (type.kind === 'message') this.#messages.add(type.typeName);
      if (type.kind === 'extension') this.#addExtension(type.extendee, type.number, file);
      if (type.kind === 'service') {
        for (const method of type.methods) this.#symbols.set(fullName(method).replace('/', '.'), file);
      }
    }
  }

  #addExtension(extendee: DescMessage, number: number, file: DescFile): void {
    const known = this.#extensions.get(extendee.typeName) ?? new Map<number, DescFile>();
    this.#extensions.set(extendee.typeName, known.set(number, file));
  }
}

function fileAnswer(file: DescFile | undefined, asked: string): Answer {
  if (file === undefined) return notFound(asked);
  const fileDescriptorProto = withDependencies(file).map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  return { case: 'fileDescriptorResponse', value: { fileDescriptorProto } };
}

function notFound(asked: string): Answer {
  return { case: 'errorResponse', value: { errorCode: codes.NOT_FOUND, errorMessage: `${asked} is not known here` } };
}

/** The file first, then everything it imports. */
function withDependencies(file: DescFile): DescFile[] {
  const found = new Set([file]);
  for (const next of found) for (const dependency of next.dependencies) found.add(dependency);
  return [...found];
}
