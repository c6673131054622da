/* Checksums of what clients send, by OpenSSL. */
#ifndef SERVER_SECURITY_CHECKSUM_H
#define SERVER_SECURITY_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>

/* Those that checksum_matches() knows, separated by commas. */
#define CHECKSUM_ALGORITHMS "sha1,sha256,sha512,md5"

typedef enum checksum_verdict {
  CHECKSUM_FITS,
  CHECKSUM_DIFFERS,
  CHECKSUM_UNKNOWN /* another algorithm, or not base64 */
} checksum_verdict;

/* text: the algorithm, a blank, the checksum in base64, as tus' Upload-Checksum has it. */
checksum_verdict checksum_matches(const char *text, const void *bytes, size_t size);

#endif
