/* What answers look like: tables by which they are written, and from which the OpenAPI document
 * gets their schemas. */
#ifndef SERVER_API_SHAPE_H
#define SERVER_API_SHAPE_H

#include <jansson.h>
#include <stdbool.h>

typedef enum shape_type {
  SHAPE_TEXT,
  SHAPE_INTEGER,
  SHAPE_NUMBER,
  SHAPE_BOOLEAN, /* also from 0 and 1 */
  SHAPE_TIME,    /* Unix seconds */
  SHAPE_BYTES,   /* a number of them */
  SHAPE_JSON,    /* any value; a text is read as JSON */
  SHAPE_OBJECT,  /* of another shape */
  SHAPE_LIST,    /* of objects of another shape */
  SHAPE_TEXTS,   /* a list of texts */
  SHAPE_NUMBERS  /* a list of numbers */
} shape_type;

enum {
  SHAPE_NULLABLE = 1, /* null where it is not known */
  SHAPE_OPTIONAL = 2  /* is not there where it does not apply */
};

typedef struct answer_shape answer_shape;

typedef struct shape_member {
  const char *name;
  shape_type type;
  int how; /* 0, or of the above */
  const char *about;
  const answer_shape *of;
  const char *const *choices; /* of a text; ends with NULL */
} shape_member;

struct answer_shape {
  const char *name;            /* unique; in the document: the schema's */
  const shape_member *members; /* ends with a name of NULL; NULL: any object */
  const answer_shape *list_of; /* instead of members: the answer is a list of these */
  const answer_shape *base;    /* with members: those of this one come first; NULL: none */
};

/* The value as its shape says: members that the shape does not name are left out, and the types are
 * the shape's. The value is the call's from here on; NULL: no memory, or NULL was given. */
json_t *shape_apply(const answer_shape *s, json_t *value);

/* As JSON Schema (2020-12). Shapes that others are of are referred to by
 * "#/components/schemas/<name>" and added to `schemas` by their names. The caller's. */
json_t *shape_schema(const answer_shape *s, json_t *schemas);
/* {"$ref"} of the shape, which is added to `schemas` where it is not there. The caller's. */
json_t *shape_reference(const answer_shape *s, json_t *schemas);

#endif
