/* interrupt.exe PID: Ctrl-C for another process, or with a second argument Ctrl-Break.

   A console sends such an event to all of its processes at once, and under Wine without a display
   there is none. So the thread that Windows starts in a process to which one is sent is started in
   this one alone: CtrlRoutine lies at the same address in all. */
#include <stdlib.h>
#include <windows.h>

int main(int count, char **words) {
  HMODULE library = GetModuleHandleA("kernelbase.dll");
  FARPROC routine = GetProcAddress(library, "CtrlRoutine");
  DWORD event = count > 2 ? CTRL_BREAK_EVENT : CTRL_C_EVENT;
  DWORD rights = PROCESS_CREATE_THREAD | PROCESS_QUERY_INFORMATION | PROCESS_VM_OPERATION |
                 PROCESS_VM_WRITE | PROCESS_VM_READ;
  HANDLE process = count > 1 ? OpenProcess(rights, FALSE, strtoul(words[1], NULL, 10)) : NULL;
  if (!routine || !process) return 2;
  HANDLE thread = CreateRemoteThread(process, NULL, 0, (LPTHREAD_START_ROUTINE)(void *)routine,
                                     (void *)(ULONG_PTR)event, 0, NULL);
  if (!thread) return 3;
  WaitForSingleObject(thread, 10000);
  return 0;
}
