import Memory
import Testing

struct ByteCountTests {
  @Test func sizesAreReadInTheUnitsThatPeopleWrite() {
    #expect(ByteCount.parse("4G") == 4 << 30)
    #expect(ByteCount.parse("512MiB") == 512 << 20)
    #expect(ByteCount.parse("1.5m") == 3 << 19)
    #expect(ByteCount.parse("300000K") == 300_000 << 10)
    #expect(ByteCount.parse("17") == 17)
  }

  @Test(arguments: ["", "G", "-1M", "0", "0.1", "nan", "inf", "1e300G", "12X", "1 G"])
  func whatIsNoSizeIsRefused(_ text: String) { #expect(ByteCount.parse(text) == nil) }

  @Test func sizesAreWrittenWithOneDigit() {
    #expect(ByteCount.text(0) == "0 B")
    #expect(ByteCount.text(1023) == "1023 B")
    #expect(ByteCount.text(1536) == "1.5 KiB")
    #expect(ByteCount.text(64 << 30) == "64.0 GiB")
    #expect(ByteCount.text(Arena.mostByteCount) == "1.0 EiB")
    #expect(ByteCount.text(.max) == "8.0 EiB")
  }

  @Test func productsAndSumsStopWhereCountingDoes() {
    #expect(ByteCount.product(3, 5, 4) == 60)
    #expect(ByteCount.product() == 1)
    #expect(ByteCount.product(.max, .max, 0) == 0)
    #expect(ByteCount.product(1 << 40, 1 << 40) == Arena.mostByteCount)
    #expect(ByteCount.product(.max, 2, 3) == Arena.mostByteCount)
    #expect(ByteCount.product(1 << 59, 2) == Arena.mostByteCount)
    #expect(ByteCount.sum(1, 2, 3) == 6)
    #expect(ByteCount.sum(.max, .max) == Arena.mostByteCount)
    #expect(ByteCount.sum(Arena.mostByteCount, 1) == Arena.mostByteCount)
  }
}
