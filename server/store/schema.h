/* The schema as steps: a store of version n has taken the first n. Steps are never changed, only
 * added. */
#ifndef SERVER_STORE_SCHEMA_H
#define SERVER_STORE_SCHEMA_H

typedef struct schema_step {
  const char *sql[4]; /* one after the other, up to the first NULL */
} schema_step;

extern const schema_step schema[];
extern const int schema_steps;

#endif
