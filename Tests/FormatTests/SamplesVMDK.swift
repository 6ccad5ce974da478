/// Honest VMDK files, and the ways to bend them.
extension Samples {
    static let descriptor = """
        # Disk DescriptorFile
        version=1
        CID=c5ccd7ee
        parentCID=ffffffff
        createType="monolithicSparse"

        # Extent description
        RW 20480 SPARSE "disk.vmdk"

        # The Disk Data Base
        #DDB

        ddb.virtualHWVersion = "4"
        ddb.geometry.cylinders = "20"
        ddb.adapterType = "ide"

        """
    static let streamDescriptor = descriptor.replacing("monolithicSparse", with: "streamOptimized")

    static let vmdk = vmdk(descriptor)

    /// Behind the end of the descriptor are its last bytes once more: it was longer before.
    static func vmdk(remnantBytes count: Int) -> Bytes {
        vmdk(descriptor) { $0.text(String(descriptor.suffix(count)), at: 512 + descriptor.utf8.count + 1) }
    }

    /// - Parameter change: changes header and grain directories; the descriptor has been put already.
    static func vmdk(_ descriptor: String, sectors: UInt64 = 20, _ change: (inout Bytes) -> Void = { _ in }) -> Bytes {
        Bytes(count: 65_536).changed {
            header(&$0, at: 0, descriptorSectors: sectors)
            $0.text(descriptor, at: 512)
            change(&$0)
        }
    }

    private static func header(_ bytes: inout Bytes, at place: Int, descriptorSectors: UInt64) {
        bytes.text("KDMV", at: place)
        bytes.little(UInt32(1), at: place + 4)
        bytes.little(UInt32(3), at: place + 8)
        bytes.little(UInt64(20_480), at: place + 12)
        bytes.little(UInt64(128), at: place + 20)
        bytes.little(UInt64(1), at: place + 28)
        bytes.little(descriptorSectors, at: place + 36)
        bytes.little(UInt32(512), at: place + 44)
        bytes.little(UInt64(21), at: place + 48)
        bytes.little(UInt64(26), at: place + 56)
        bytes.little(UInt64(128), at: place + 64)
        bytes.text("\n \r\n", at: place + 73)
    }

    static let streamVMDK = streamVMDK { _ in }

    /// With the grain directory at the end: the last three sectors are marker, footer, mark of the end.
    static func streamVMDK(_ change: (inout Bytes) -> Void) -> Bytes {
        vmdk(streamDescriptor) {
            let footer = $0.all.count - 1024
            header(&$0, at: footer, descriptorSectors: 20)
            for place in [0, footer] {
                $0.little(UInt32(3 << 16 | 1), at: place + 8)
                $0.little(UInt16(1), at: place + 77)
                $0.little(UInt64(0), at: place + 48)
            }
            $0.little(UInt64.max, at: 56)
            $0.little(UInt64(100), at: footer + 56)
            $0.little(UInt64(1), at: footer - 512)
            $0.little(UInt32(3), at: footer - 512 + 12)
            change(&$0)
        }
    }
}
