/* acl - POSIX ACLs as the kernel hands them over in system.posix_acl_access and _default
 * (linux/posix_acl_xattr.h): u32 version 2, then entries u16 tag | u16 permissions | u32 id.  What
 * they mean together with the mode: acl(5) of Linux, POSIX 1003.1e draft 17, sections 23.1
 * and 23.3. No state. */
#ifndef ZDBFS_FORMAT_ACL_H
#define ZDBFS_FORMAT_ACL_H

#include "common/bytes.h"

#define ACL_ACCESS  "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"

/* In order, complete, with a mask where there are named entries. */
bool acl_format_valid(struct slice acl);

/* The rest are of valid ones, given as bytes of that length; permission bits of a mode only. */

/* What the mode says for this access ACL.  True: and the mode says all of it. */
bool acl_format_mode(const uint8_t *acl, size_t len, uint32_t *mode);
/* The access ACL after chmod to this mode. */
void acl_format_chmod(uint8_t *acl, size_t len, uint32_t mode);
/* A copy of the directory's default ACL becomes the access ACL of a new file that was asked for
 * with this mode; both are cut down to what they have in common.  True: the mode says all of it. */
bool acl_format_inherit(uint8_t *acl, size_t len, uint32_t *mode);

#endif
