import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { pathToString } from '@bufbuild/protobuf/reflect';
import { createValidator } from '@bufbuild/protovalidate';

import { CarillonError, type FieldViolation } from '../errors.ts';

/** Checks a message against the rules of its proto file. Throws CarillonError INVALID_FIELD with every violation. */
export type Validate = <D extends DescMessage>(schema: D, message: MessageShape<D>) => void;

/** Rules are compiled at their first use and kept, so make one and share it. */
export function createValidate(): Validate {
  const validator = createValidator();
  return (schema, message) => {
    const result = validator.validate(schema, message);
    if (result.kind === 'valid') return;
    // A rule that cannot be compiled is a fault of the proto file, not of the caller: it comes out as INTERNAL.
    if (result.kind === 'error') throw result.error;
    const violations = result.violations.map((violation) => ({
      field: pathToString(violation.field),
      description: violation.message,
    }));
    throw new CarillonError('INVALID_FIELD', violations.map(told).join('; '), { violations });
  };
}

/** A rule of the whole message has no field. */
const told = ({ field, description }: FieldViolation): string =>
  field === '' ? description : `${field}: ${description}`;
