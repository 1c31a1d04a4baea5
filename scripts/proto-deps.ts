/**
 * Prints buf/validate/validate.proto into proto-deps/ from the descriptor inside @bufbuild/protovalidate, so that buf
 * lints, compares and generates offline with the very version the service validates with. Options (the CEL behind the
 * predefined rules) are left out: the runtimes bring their own.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DescEnum, DescExtension, DescField, DescMessage } from '@bufbuild/protobuf';
import { FieldDescriptorProto_Type as Type } from '@bufbuild/protobuf/wkt';
import { file_buf_validate_validate as file } from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js';

const indent = (lines: readonly string[]): string[] => lines.map((line) => `  ${line}`);

const scalarName = (type: number): string => {
  const name = Type[type];
  if (name === undefined) throw new Error(`no scalar type has the number ${type}`);
  return name.toLowerCase();
};

function typeName(field: DescField | DescExtension): string {
  const named = field.message ?? field.enum;
  return named ? `.${named.typeName}` : scalarName(field.proto.type);
}

function fieldLine(field: DescField | DescExtension, label: string): string {
  return `${label}${typeName(field)} ${field.name} = ${field.number};`;
}

function labelOf(field: DescField | DescExtension): string {
  if (field.kind === 'field' && field.oneof) return '';
  return field.fieldKind === 'list' ? 'repeated ' : 'optional ';
}

function mapLine(field: DescField): string {
  if (field.fieldKind !== 'map') throw new Error(`${field.name} is not a map`);
  const value = field.message ?? field.enum;
  const valueName = value ? `.${value.typeName}` : scalarName(field.scalar ?? Type.STRING);
  return `map<${scalarName(field.mapKey)}, ${valueName}> ${field.name} = ${field.number};`;
}

function printEnum(desc: DescEnum): string[] {
  return [`enum ${desc.name} {`, ...indent(desc.values.map((v) => `${v.name} = ${v.number};`)), '}'];
}

function printMessage(desc: DescMessage): string[] {
  const plain = desc.fields.filter((f) => !f.oneof);
  const body = [
    ...desc.nestedEnums.flatMap(printEnum),
    ...desc.nestedMessages.flatMap(printMessage),
    ...plain.map((f) => (f.fieldKind === 'map' ? mapLine(f) : fieldLine(f, labelOf(f)))),
    ...desc.oneofs.flatMap((o) => [`oneof ${o.name} {`, ...indent(o.fields.map((f) => fieldLine(f, ''))), '}']),
    ...desc.proto.extensionRange.map((r) => {
      const last = (r.end ?? 0) - 1;
      return `extensions ${r.start} to ${last >= 536_870_911 ? 'max' : last};`;
    }),
  ];
  return [`message ${desc.name} {`, ...indent(body), '}'];
}

const lines = [
  '// Printed by scripts/proto-deps.ts. Not edited, not committed.',
  'syntax = "proto2";',
  `package ${file.proto.package};`,
  ...file.dependencies.map((d) => `import "${d.name}.proto";`),
  ...file.extensions.flatMap((e) => [`extend .${e.extendee.typeName} {`, ...indent([fieldLine(e, labelOf(e))]), '}']),
  ...file.enums.flatMap(printEnum),
  ...file.messages.flatMap(printMessage),
];
const path = join(import.meta.dirname, '..', 'proto-deps', `${file.name}.proto`);
mkdirSync(dirname(path), { recursive: true });
writeFileSync(path, `${lines.join('\n')}\n`);
