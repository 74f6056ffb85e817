# Rewrites a program's assembly so that its unwind tables take half the bytes.
#
# The compiler describes a frame after each push and each pop, for a debugger that may stop
# anywhere. A panic is only ever seen from a call. With a frame pointer there is then one
# description for the whole function: the caller's frame is at %rbp+16, and every saved register
# keeps its place. Said at the start of a function, the assembler puts it into an entry that all
# functions with the same places share (DWARF 5 §6.4.1, "initial_instructions").
#
# A function is rewritten only when that description is true at each of its calls: the frame
# pointer is set up, and just the registers that it ever saves are saved. Others stay as they are.

/^\t\.cfi_startproc/ {
  inside = 1
  strange = framed = sixteen = lines = calls = saved = now = arguments = 0
  split("", place)
  split("", live)
  next
}
/^\t\.cfi_endproc/ { inside = 0; write_function(); next }
!inside { print; next }
{ text[++lines] = $0 }
/^\tcall/ { if (!framed) strange = 1; saved_at[++calls] = now }
/^\t\.cfi_/ {
  register = $2
  sub(/,$/, "", register)
  if ($1 == ".cfi_def_cfa_offset") sixteen = register == 16
  else if ($1 == ".cfi_def_cfa_register") {
    if (register == "%rbp" && sixteen) framed = 1; else strange = 1
  } else if ($1 == ".cfi_def_cfa") {
    if (register == "%rsp" && $3 == 8) framed = 0
    else if (register == "%rbp" && $3 == 16) framed = 1
    else strange = 1
  } else if ($1 == ".cfi_offset") {
    if (register !~ /^%(rbp|rbx|r12|r13|r14|r15)$/) strange = 1
    if (register == "%rbp" && $3 != -16) strange = 1
    if ((register in place) && place[register] != $3) strange = 1
    if (!(register in place)) { place[register] = $3; saved++ }
    if (!(register in live)) { live[register] = 1; now++ }
  } else if ($1 == ".cfi_restore") {
    if (register in live) { delete live[register]; now-- } else strange = 1
  } else if ($1 == ".cfi_escape") {
    # DW_CFA_GNU_args_size: bytes of arguments that a landing pad finds on the stack.
    if (register != "0x2e" || NF != 3) strange = 1
    if ($3 != "0x00") arguments = 1
  } else if ($1 != ".cfi_lsda" && $1 != ".cfi_personality") strange = 1
}

function write_function(  i, compact) {
  compact = !strange && ("%rbp" in place)
  for (i = 1; i <= calls; i++) if (saved_at[i] != saved) compact = 0
  print "\t.cfi_startproc"
  if (compact) write_frame()
  for (i = 1; i <= lines; i++)
    if (!compact || text[i] !~ /^\t\.cfi_/ || text[i] ~ /^\t\.cfi_(lsda|personality)/ ||
        (arguments && text[i] ~ /^\t\.cfi_escape/)) print text[i]
  print "\t.cfi_endproc"
}

# The assembler shares an entry with whatever begins like it. Frames that save something differ in
# a place; the one that saves nothing is told apart by the order.
function write_frame(  i, count, names) {
  if (saved > 1) print "\t.cfi_def_cfa %rbp, 16"
  print "\t.cfi_offset %rbp, -16"
  if (saved == 1) print "\t.cfi_def_cfa %rbp, 16"
  count = split("%rbx %r12 %r13 %r14 %r15", names, " ")
  for (i = 1; i <= count; i++)
    if (names[i] in place) print "\t.cfi_offset " names[i] ", " place[names[i]]
}
