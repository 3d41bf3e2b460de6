# SPDX-License-Identifier: GPL-2.0
#
# awk -f check.awk UAPI_HEADER DESCRIPTIONS - prints a C file that compiles only if the
# descriptions for syzkaller agree with the header: the layout of structs, the size and
# direction of ioctls, the names of constants. What the header has and the descriptions do
# not mention becomes an #error.

function size_of(type,	part) {
	if (type ~ /^array\[.*, *[0-9]+\]$/) {
		part = type
		sub(/.*, */, "", part)
		sub(/, *[0-9]+\]$/, "", type)
		return (part + 0) * size_of(substr(type, 7))
	}
	if (type ~ /^(vma64|ptr64)/)
		return 8
	if (match(type, /int(8|16|32|64)/))
		return substr(type, RSTART + 3, RLENGTH - 3) / 8
	return size[type]
}

function assert(what) {
	printf "_Static_assert(%s, \"%s:%d\");\n", what, FILENAME, FNR
}

BEGIN { print "#include <stddef.h>\n#include UAPI" }

NR == FNR {
	if ($1 == "struct" && $3 == "{")
		struct[$2] = 1
	if ($1 == "#define" && $2 ~ /^HMM_RANGE_/)
		constant[$2] = 1
	next
}

{
	words = $0
	gsub(/[^A-Za-z0-9_]+/, " ", words)
	n = split(words, word, " ")
	for (i = 1; i <= n; i++)
		mentioned[word[i]] = 1
}

/^define / { print "enum { " $2 " = " substr($0, index($0, $3)) " };" }

/^[a-z0-9_]+ = / && /HMM_RANGE_/ {
	print "static const unsigned long " $1 "[] = { " substr($0, index($0, "=") + 1) " };"
}

/^[a-z0-9_]+ \{$/ { in_struct = $1; offset = 0; widest = 1; next }

in_struct && /^}/ {
	size[in_struct] = offset
	if (in_struct in struct)
		assert("sizeof(struct " in_struct ") == " offset)
	in_struct = ""
}

in_struct {
	type = $0
	sub(/^\t[a-z0-9_]+[\t ]+/, "", type)
	sub(/[\t ]+\(out\)$/, "", type)
	if (in_struct in struct) {
		assert("offsetof(struct " in_struct ", " $1 ") == " offset)
		assert("sizeof(((struct " in_struct " *)0)->" $1 ") == " size_of(type))
	}
	offset += size_of(type)
}

/^ioctl\$/ {
	cmd = $0
	sub(/^ioctl\$/, "", cmd)
	sub(/\(.*/, "", cmd)
	if (index($0, "cmd const[" cmd "]") == 0)
		print "#error " cmd ": is described as another"
	arg = $0
	sub(/.*, arg /, "", arg)
	sub(/\)$/, "", arg)
	if (arg == "const[0]") {
		assert("_IOC_DIR(" cmd ") == _IOC_NONE")
		next
	}
	direction = arg
	sub(/^ptr\[/, "", direction)
	sub(/,.*/, "", direction)
	assert("_IOC_DIR(" cmd ") == (" (direction ~ /in/ ? "_IOC_WRITE" : 0) " | " \
	       (direction ~ /out/ ? "_IOC_READ" : 0) ")")
	type = arg
	sub(/^ptr\[[a-z]+, /, "", type)
	sub(/\]$/, "", type)
	# Structs are described below
	if (type in struct)
		assert("_IOC_SIZE(" cmd ") == sizeof(struct " type ")")
	else
		assert("_IOC_SIZE(" cmd ") == " size_of(type))
}

END {
	for (name in constant)
		if (!(name in mentioned))
			print "#error " name ": is not in the descriptions"
	for (name in struct)
		if (!(name in size))
			print "#error struct " name ": is not in the descriptions"
}
