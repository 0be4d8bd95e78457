import Formats
import FoundationEssentials
import Glibc

/// Writes a TensorBoard event file while a run goes on: figures after each step, each record whole or not at all.
///
/// A run that goes on from a checkpoint begins a new file with what the old one says of the steps that count, and removes
/// the old one: no step is there twice, and a TensorBoard that is looking on begins this run anew.
public final class EventWriter {
  private let file: GrowingFile

  /// The file that is written.
  public var path: String { file.path }

  private static let prefix = "events.out.tfevents."

  /// - Parameters:
  ///   - folder: gets the file, and is made if it is not there
  ///   - keepingSteps: what an earlier file says of later steps is dropped; 0 keeps nothing of it
  ///   - time: of the beginning, in seconds since 1970
  public convenience init(folder: String, keepingSteps: Int = 0, time: Double = EventWriter.now()) throws {
    try self.init(folder: folder, keepingSteps: keepingSteps, time: time, suffix: ".edge-lora")
  }

  /// - Parameter suffix: of the file's name; only files with the same one are gone on with or removed
  init(folder: String, keepingSteps: Int, time: Double, suffix: String) throws {
    try OutputFolder.create(folder)
    let earlier = Self.files(in: folder, suffix: suffix)
    let newest = earlier.last.map(\.time) ?? 0
    // A name later than those before it: readers go through files in this order.
    let started = max(Int(min(max(time, 0), 9e9)), newest + 1)
    let digits = String(started)
    let path = "\(folder)/\(Self.prefix)\(String(repeating: "0", count: max(0, 10 - digits.count)))\(digits)\(suffix)"
    let output = try AtomicOutput(path: path, force: true)
    let kept = try OutputFile(path: output.temporaryPath)
    for content in [Event.Content.version("brain.Event:2"), .start] {
      try kept.append(EventRecord.framed(Event(time: time, step: 0, content: content).encoded))
    }
    if keepingSteps > 0, let last = earlier.last {
      let mapped = try MappedFile(path: last.path)
      for content in withExtendedLifetime(mapped, { EventRecord.contents(of: mapped.bytes) }) {
        guard let step = Event.stepOfScalars(content), step <= keepingSteps else { continue }
        try kept.append(EventRecord.framed(content))
      }
    }
    try kept.finish()
    try output.commit()
    for file in earlier { unlink(file.path) }
    file = try GrowingFile(path: path)
  }

  /// Our files in a folder, by ascending time; those of other programs stay as they are.
  private static func files(in folder: String, suffix: String) -> [(path: String, time: Int)] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return names.compactMap { name -> (path: String, time: Int)? in
      guard name.hasPrefix(prefix), name.hasSuffix(suffix),
        let time = Int(name.dropFirst(prefix.count).dropLast(suffix.count)), (0...10_000_000_000).contains(time)
      else { return nil }
      return ("\(folder)/\(name)", time)
    }.sorted { $0.time < $1.time }
  }

  /// Writes figures after a step.
  ///
  /// - Parameters:
  ///   - scalars: by TensorBoard's tags, such as `train/loss`; TensorBoard keeps them as floats of 32 bits
  ///   - time: seconds since 1970
  /// - Throws: `FileError`; the file then ends with the record before, and the same record can be written again
  public func append(step: Int, scalars: [(tag: String, value: Double)], time: Double = EventWriter.now()) throws {
    guard !scalars.isEmpty else { return }
    let content = Event.Content.scalars(scalars.map { .init(tag: $0.tag, value: Float($0.value)) })
    try file.append(EventRecord.framed(Event(time: time, step: step, content: content).encoded))
  }

  /// Writes a line of `metrics.jsonl`, under the tags of `MetricsScalars`.
  public func append(line: JSONObject, time: Double = EventWriter.now()) throws {
    guard let step = line["step"]?.intValue else { return }
    try append(step: step, scalars: MetricsScalars.of(line), time: time)
  }

  /// Waits until all that was written is on the disk.
  public func synchronize() throws { try file.synchronize() }

  /// Seconds since 1970.
  public static func now() -> Double {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Double(now.tv_sec) + Double(now.tv_nsec) * 1e-9
  }
}
