import { FETCH_SUBJECTS } from './fetch-subjects.ts';
import { LIBRARY_SUBJECTS } from './library-subjects.ts';
import type { Subject } from './subject.ts';

export const SUBJECTS: readonly Subject[] = [...LIBRARY_SUBJECTS, ...FETCH_SUBJECTS];
