/* Checksums of what clients send, by OpenSSL. */
#ifndef SERVER_SECURITY_CHECKSUM_H
#define SERVER_SECURITY_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>

/* Those that are known, separated by commas. */
#define CHECKSUM_ALGORITHMS "sha1,sha256,sha512,md5"

typedef struct checksum checksum;

/* text: the algorithm, a blank, the checksum in base64, as tus' Upload-Checksum has it. NULL: an
 * algorithm that is not known, or no base64. */
checksum *checksum_begin(const char *text);
void checksum_add(checksum *c, const void *bytes, size_t size);
/* Whether all that was added has the checksum of the text. Frees it. */
bool checksum_end(checksum *c);

#endif
