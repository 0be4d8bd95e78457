import Foundation
import Kernels
import Testing

struct OpenBLASTests {
  @Test func theLibraryThatDebianInstallsIsUsable() throws {
    _ = try OpenBLAS(OpenBLAS.fileName)
    try ReferenceProduct.prepare()
  }

  private func expectFailure(of file: String, saying parts: String...) {
    #expect {
      _ = try OpenBLAS(file)
    } throws: { error in
      error is OpenBLAS.Failure && parts.allSatisfy { "\(error)".contains($0) }
    }
  }

  @Test func aMissingLibraryIsAnErrorThatNamesThePackage() {
    expectFailure(
      of: "libnothing-of-this-name.so.0", saying: "libnothing-of-this-name.so.0", "apt install libopenblas0")
  }

  @Test func aFileThatIsNoLibraryIsAnError() throws {
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(UUID().uuidString).so")
    defer { try? FileManager.default.removeItem(at: file) }
    try Data("no library".utf8).write(to: file)
    expectFailure(of: file.path, saying: "cannot be loaded")
  }

  @Test func aLibraryWithoutTheProductIsAnError() { expectFailure(of: "libz.so.1", saying: "lacks cblas_sgemm") }
}
