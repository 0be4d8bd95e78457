import Foundation
import Testing
import Transformer

@Test func aSpillFileTakesWhatItGivesBack() throws {
  try withTemporaryFolder { folder in
    let file = SpillFile(directory: folder)
    let bytes = (0..<1000).map { UInt8($0 % 251) }
    try bytes.withUnsafeBytes { try file.write($0, at: 5000) }
    try file.synchronize()
    var copy = [UInt8](repeating: 0, count: 900)
    try copy.withUnsafeMutableBytes { try file.read(into: $0, at: 5100) }
    #expect(copy == Array(bytes[100...]))
    #expect(throws: SpillError.self) { try copy.withUnsafeMutableBytes { try file.read(into: $0, at: 5101) } }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder).isEmpty)
    let nowhere = SpillFile(directory: "\(folder)/missing")
    #expect(throws: SpillError.self) { try bytes.withUnsafeBytes { try nowhere.write($0, at: 0) } }
  }
}
