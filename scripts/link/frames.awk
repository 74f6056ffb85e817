# Replaces a program's unwind tables (scripts/link/unwind.c reads the new ones) in its assembly.
#
# DWARF describes a frame after each push and each pop, for any compiler and for a debugger that
# may stop anywhere: 24 bytes and more a function, and 15 KB of code in gcc's unwinder to read
# them. A panic is only ever seen from a call, and this program's functions all keep a frame
# pointer: what their caller needs back lies directly under it, in one order. So a function is
# described by what it saves, one bit a register, and a function that is described otherwise stops
# the link here.
#
# Before a function that may unwind stand two bytes: its length. Section `frames` has four bytes
# for it, in the order of the functions: where it begins, and its bits. Directly after it stand
# the places that a panic does not just pass ("landing pads"), see write_sites().

# The directives between a function's section and its first instruction, until it is known
# whether the function has a description.
/^\t\.(section\t\.)?text/ {
  write_held()
  write_sites()
  section = $1 == ".text" ? ".text" : $2
  sub(/,.*/, "", section)
  held[++holding] = $0
  next
}
/^\t\.section\t\.gcc_except_table/ { write_held(); sites = 1; next }
/^\t\.section/ { write_held(); write_sites(); print; next }
sites { read_sites(); next }
/^\t\.cfi_startproc/ {
  inside = 1
  function_number++
  framed = sixteen = lines = calls = saved = now = landing = 0
  wrong = ""
  split("", place)
  split("", live)
  next
}
/^\t\.cfi_endproc/ { inside = 0; write_function(); next }
holding && !inside { held[++holding] = $0; next }
!inside { print; next }
/^\t\.cfi_/ { read_frame(); next }
{ text[++lines] = $0; whole[lines] = framed && now == saved }
# What was moved out of functions because it repeats holds no call, or the link stops at it.
/^\tcall/ && !/ ?OUTLINED_FUNCTION_[0-9_]+$/ {
  if (!framed) wrong = "a call without a frame pointer"
  saved_at[++calls] = now
}
END { write_held(); write_sites(); exit failed }

function read_frame(  register) {
  register = $2
  sub(/,$/, "", register)
  if ($1 == ".cfi_def_cfa_offset") sixteen = register == 16
  else if ($1 == ".cfi_def_cfa_register") framed = sixteen && register == "%rbp"
  else if ($1 == ".cfi_def_cfa") framed = register == "%rbp" && $3 == 16
  else if ($1 == ".cfi_offset") {
    if ((register in place) && place[register] != $3) wrong = register " in two places"
    if (!(register in place)) { place[register] = $3; saved++ }
    if (!(register in live)) { live[register] = 1; now++ }
  } else if ($1 == ".cfi_restore") {
    if (!(register in live)) wrong = register " restored twice"
    delete live[register]
    now--
  } else if ($1 == ".cfi_lsda") landing = 1
  # DW_CFA_GNU_args_size: arguments that a landing pad would have to pop.
  else if ($1 == ".cfi_escape") { if ($2 != "0x2e," || $3 != "0x00") wrong = "pushed arguments" }
  else if ($1 != ".cfi_personality") wrong = $0
}

function write_held(  i) {
  for (i = 1; i <= holding; i++) print held[i]
  holding = 0
}

function write_function(  i, bits, at, names, name) {
  for (i = 1; i <= calls; i++) if (saved_at[i] != saved) wrong = "a call before all is saved"
  if (calls && !("%rbp" in place && place["%rbp"] == -16)) wrong = "no frame pointer saved"
  split("%r15 %r14 %r13 %r12 %rbx", names, " ")
  at = -24
  for (i = 1; i <= 5; i++)
    if (names[i] in place) {
      if (place[names[i]] != at) wrong = names[i] " at " place[names[i]]
      at -= 8
      bits += 2 ^ (i - 1)
    }
  if (landing) bits += 32
  for (i = 1; i <= holding; i++) {
    if (held[i] ~ /^[^\t]+:$/ && held[i] !~ /^\.Lfunc_begin/) {
      name = held[i]
      if (calls) print "\t.short\t.Lframe_end" function_number "-.Lframe" function_number
      print ".Lframe" function_number ":"
    }
    print held[i]
  }
  holding = 0
  if (calls && wrong) {
    print "link: " name " " wrong >"/dev/stderr"
    failed = 1
  }
  shorten(name)
  for (i = 1; i <= lines; i++) print text[i]
  print ".Lframe_end" function_number ":"
  if (calls) {
    print "\t.section\tframes,\"ao\",@progbits," section
    printf "\t.long\t.Lframe%d-.+%d\n", function_number, bits * 2 ^ 25
  }
}

# What lies more than 128 bytes under the frame pointer takes four bytes of distance. It takes one,
# and one for naming the stack pointer, where it is less than 128 bytes above that: which does not
# move between a function's entry and its exits, because arguments are not pushed. A function that
# moves it all the same stays as it is.
function shorten(  i, frame, moved, depth, at) {
  frame = 8 * (saved - 1)
  for (i = 1; i <= lines; i++) {
    if (text[i] ~ /^\tsubq\t\$[0-9]+, %rsp$/) {
      if (moved) return
      moved = text[i]
      gsub(/[^0-9]/, "", moved)
      frame += moved
    } else if (text[i] ~ /^\t(and|lea|mov|cmp).*, %rsp$/) return
  }
  if (!moved || frame <= 128) return
  # Until the entry is over, and from an exit to the next label, it does move; so it does between
  # the push and the pop of a small number.
  for (i = 1; i <= lines; i++) {
    if (text[i] ~ /^\taddq\t\$[0-9]+, %rsp$/) moved = 1
    else if (text[i] ~ /^\tsubq\t\$[0-9]+, %rsp$/ || text[i] ~ /:$/) moved = depth = 0
    else if (text[i] ~ /^\tpushq/) depth++
    else if (text[i] ~ /^\tpopq/) depth--
    else if (!moved && !depth && whole[i] && match(text[i], /-[0-9]+\(%rbp[,)]/)) {
      at = substr(text[i], RSTART, RLENGTH - 6) + 0
      if (at < -128 && frame + at < 128)
        text[i] = substr(text[i], 1, RSTART - 1) (frame + at) "(%rsp" substr(text[i], RSTART + RLENGTH - 1)
    }
  }
}

# A site is a range of calls with its landing pad: four lines, start, length, landing pad and
# action. Then come the actions: the byte that a site's action counts to says whether it is a catch.
function read_sites() {
  if ($0 ~ /^\.Lcst_begin/) rows = 0
  else if ($0 ~ /^\.Lcst_end/) { site_rows = rows; actions = 0 }
  else if ($1 == ".uleb128" || $1 == ".byte") { row[++rows] = $2; action[++actions] = $2 }
}

# First their count, then for each the distance from the end of the one before, its length, and how
# far into the function the landing pad is, doubled, plus one if it catches; 0 where a panic just
# passes. A call that is in no site cannot panic.
function write_sites(  i, from, length_of, pad) {
  if (!sites) return
  sites = 0
  print "\t.section\t" section ",\"ax\",@progbits"
  print "\t.uleb128 " site_rows / 4
  for (i = 1; i <= site_rows; i += 4) {
    from = row[i]
    if (i > 1) sub(/-.*/, "-" last, from)
    print "\t.uleb128 " from
    print "\t.uleb128 " row[i + 1]
    pad = row[i + 2]
    if (pad == "0") print "\t.byte\t0"
    else print "\t.uleb128 (" pad ")*2+" (row[i + 3] != 0 && action[row[i + 3]] != 0)
    last = row[i + 1]
    sub(/-.*/, "", last)
  }
}
