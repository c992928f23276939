// The main function of this test program: the file worker's child is the program itself.
#include <gtest/gtest.h>

#include "daemon/files/file_worker.h"

int main(int argc, char** argv) {
  hotpath::FileWorker::RunChildIfAsked(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
