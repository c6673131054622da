/* The schema as steps: a store of version n has taken the first n. Steps are never changed, only
 * added. */
#ifndef SERVER_STORE_SCHEMA_H
#define SERVER_STORE_SCHEMA_H

extern const char *const schema[];
extern const int schema_steps;

#endif
